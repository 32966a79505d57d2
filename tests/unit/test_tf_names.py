"""Exported checkpoints of TensorFlow: layers by name, in whatever order; averages before weights; what is unknown in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nas.arch import arch_from_dict
from nas.arch.blocks import lower
from nas.arch.graph import Graph
from nas.convert import starting_weights
from nas.nn.weights import HostVariables, save_arrays
from networks import settled

OURS = {"kernel": "kernel", "scale": "gamma", "bias": "bias", "mean": "moving_mean", "var": "moving_variance"}
Arrays = dict[str, np.ndarray]


def network() -> Graph:
    """Eleven blocks, so that letters put ten before two; the first without expansion, as EfficientNet has it."""
    stages = [
        {"op": "mbconv", "repeat": 1, "expand": 1, "kernel": 3, "se": 0.25, "width": 8, "stride": 1},
        {"op": "mbconv", "repeat": 11, "expand": 4, "kernel": 5, "se": 0.25, "width": 8, "stride": 2},
    ]  # fmt: skip
    ends = {"stem": {"op": "conv", "width": 8}, "head": {"op": "classifier", "width": 12}}
    return lower(arch_from_dict({"name": "a", "resolution": 16, "classes": 5, "stages": stages, **ends}))


def checkpoint(graph: Graph, variables: HostVariables, model: str = "efficientnet-b0/", prefix: str = "", norm: str = "tpu_") -> Arrays:
    """Names as TensorFlow counts them: each further layer of a kind in a block gets a number."""
    arrays: Arrays = {}
    blocks = list(dict.fromkeys(node.scope for node in graph.nodes if node.scope.startswith("stages")))
    seen: dict[str, int] = {}
    for node in graph.nodes:
        own = {**variables["params"].get(node.name, {}), **variables["stats"].get(node.name, {})}
        if not own:
            continue
        part = f"blocks_{blocks.index(node.scope)}" if node.scope in blocks else node.scope
        is_depthwise = "depthwise.conv" in node.name
        kind = {"norm": f"{norm}batch_normalization", "dense": "dense"}.get(node.op, "depthwise_conv2d" if is_depthwise else "conv2d")
        layer = f"{model}{prefix}{part}/{'se/' if '/se.' in node.name else ''}{kind}"
        seen[layer] = seen.get(layer, -1) + 1
        layer += f"_{seen[layer]}" * (seen[layer] > 0)
        for name, array in own.items():
            key = "beta" if node.op == "norm" and name == "bias" else OURS[name]
            if is_depthwise and name == "kernel":
                key, array = "depthwise_kernel", array.transpose(0, 1, 3, 2)
            arrays[f"{layer}/{key}"] = array
    return arrays


FORMS: dict[str, Callable[[Graph, HostVariables], Arrays]] = {
    "efficientnet": checkpoint,
    "mnasnet": lambda graph, values: checkpoint(graph, values, "mnasnet-a1/", "mnas_", ""),
    "variables": lambda graph, values: {f"{name}:0": array for name, array in checkpoint(graph, values, "").items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_layers_are_known_by_name(form: str, tmp_path: Path) -> None:
    graph = network()
    variables = settled(graph)
    save_arrays(tmp_path / "a.npz", dict(sorted(FORMS[form](graph, variables).items())))
    imported = starting_weights(str(tmp_path / "a.npz"), graph, 0)
    assert imported.fresh == imported.notes == ()
    for part, nodes in variables.items():
        for node, arrays in nodes.items():
            assert all(np.array_equal(imported.variables[part][node][name], array) for name, array in arrays.items()), node


def test_averages_are_taken_and_the_optimizer_left(tmp_path: Path) -> None:
    graph = network()
    variables = settled(graph)
    arrays: Arrays = {"global_step": np.array(7)}
    for name, array in checkpoint(graph, variables).items():
        arrays |= {name: array * 0, f"{name}/ExponentialMovingAverage": array, f"{name}/RMSProp_1": array, f"{name}/RMSProp": array}
    save_arrays(tmp_path / "a.npz", arrays)
    imported = starting_weights(str(tmp_path / "a.npz"), graph, 0)
    assert imported.notes == ("read from ExponentialMovingAverage; not read: RMSProp, RMSProp_1, global_step",)
    ours, expected = (values["params"]["stem/conv"]["kernel"] for values in (imported.variables, variables))
    assert np.array_equal(ours, expected)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"efficientnet-b0/neck/conv2d/kernel": np.ones((1, 1, 3, 3), np.float32)}, "neck/conv2d/kernel: an array of no layer known"),
        ({"efficientnet-b0/stem/conv2d/kernel": np.ones((3, 3), np.float32)}, "stem/conv: kernel: expected shape (3, 3, 3, 8), got"),
        ({"efficientnet-b0/stem/conv2d/kernel": np.ones(3, np.float32)}, "stem/conv2d/kernel: shape (3,); expected 4 axes"),
        ({"other/stem/conv2d/kernel": np.ones((3, 3, 3, 8), np.float32)}, "other/stem/conv2d/kernel: names the same array as"),
        ({"efficientnet-b0/stem/tpu_batch_normalization/moving_mean": None}, "a batch norm with"),
        ({"efficientnet-b0/head/conv2d_1/kernel": np.ones((1, 1, 3, 3), np.float32)}, "head.conv2d_1"),
    ],
)
def test_what_does_not_fit_is_one_line(change: dict[str, np.ndarray | None], words: str, tmp_path: Path) -> None:
    graph = network()
    given = {**checkpoint(graph, settled(graph)), **change}
    save_arrays(path := tmp_path / "a.npz", {name: array for name, array in given.items() if array is not None})
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{re.escape(words)}"):
        starting_weights(str(path), graph, 0)
