"""State dicts of PyTorch in a network: every naming gives each array its place, what does not fit is named in one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.arch import Arch, arch_from_dict
from nas.arch.blocks import lower
from nas.arch.graph import Graph
from nas.convert import starting_weights
from nas.convert.torch_layers import TorchLayer, import_state_dict, in_order
from nas.nn.network import init
from nas.nn.weights import HostVariables, Variables, load_weights, save_arrays
from nas.workflows.export import safetensors
from nas.workflows.export.sources import whole_weights
from networks import settled
from torch_files import WRITERS, write_torch

OURS = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
Names = Callable[[str, bool], str]


def arch_of(stem: Mapping[str, Any], stages: list[Any], head: Mapping[str, Any], classes: int = 5, **more: Any) -> Arch:
    data = {"name": "a", "resolution": 16, "classes": classes, "stem": dict(stem), "stages": stages, "head": dict(head), **more}
    return arch_from_dict(data)


def graph_of(stem: Mapping[str, Any], stages: list[Any], head: Mapping[str, Any], classes: int = 5) -> Graph:
    return lower(arch_of(stem, stages, head, classes))


def mobile(classes: int = 5, **more: Any) -> Graph:
    return lower(mobile_arch(classes, **more))


def mobile_arch(classes: int = 5, **more: Any) -> Arch:
    """Two blocks without expansion, then twelve whose second SE convolution has the shape of their expansion."""
    stages = [
        {"op": "mbconv", "repeat": 2, "expand": 1, "kernel": 3, "width": 8, "stride": 1},
        {"op": "mbconv", "repeat": 12, "expand": 4, "kernel": 3, "se": 0.25, "se_of": "hidden", "width": 8, "stride": 2},
    ]  # fmt: skip
    return arch_of({"op": "conv", "width": 8, "stride": 2}, stages, {"op": "classifier", "width": 12}, classes, **more)


def residual(op: str, classes: int = 5) -> Graph:
    """The second stage begins with a shortcut of the shape of the main path's last convolution."""
    stages = [{"op": op, "repeat": 2, "width": 16, "stride": 1}, {"op": op, "repeat": 2, "width": 32, "stride": 2}]
    return graph_of({"op": "conv", "width": 16 if op == "residual" else 4, "stride": 2}, stages, {"op": "classifier"}, classes)


def dense(**head: Any) -> Graph:
    """Feature maps made flat before two dense layers."""
    stages = [{"op": "conv", "repeat": 1, "width": 6, "stride": 2, "bias": True}]
    return graph_of({"op": "conv", "width": 4, "stride": 2}, stages, {"op": "mlp", "widths": [7], **head})


def timm(name: str, expands: bool) -> str:
    """timm's names for MobileNets, and for ResNets, which are torchvision's too."""
    scope, part = name.split("/")
    if part.startswith(("conv1.", "conv2.", "conv3.")):
        part = part.replace(".conv", "").replace(".norm", "").replace("conv", "bn") if part.endswith(".norm") else part[:5]
    places = {
        "stem/conv": "conv_stem", "stem/norm": "bn1", "head/conv.conv": "conv_head", "head/conv.norm": "bn2", "head/logits": "classifier",
    }  # fmt: skip
    parts = {
        "expand.conv": "conv_pw", "expand.norm": "bn1", "depthwise.conv": "conv_dw", "depthwise.norm": "bn2" if expands else "bn1",
        "project.conv": "conv_pwl" if expands else "conv_pw", "project.norm": "bn3" if expands else "bn2",
        "se.reduce": "se.conv_reduce", "se.expand": "se.conv_expand", "shortcut.conv": "downsample.0", "shortcut.norm": "downsample.1",
    }  # fmt: skip
    return places.get(name) or f"{scope.replace('stages', 'blocks')}.{parts.get(part, part)}"


def efficientnet_pytorch(name: str, expands: bool) -> str:
    """As EfficientNet-PyTorch names its modules; blocks are numbered through."""
    places = {
        "stem/conv": "_conv_stem", "stem/norm": "_bn0", "head/conv.conv": "_conv_head", "head/conv.norm": "_bn1", "head/logits": "_fc",
    }  # fmt: skip
    parts = {
        "expand.conv": "_expand_conv", "expand.norm": "_bn0", "depthwise.conv": "_depthwise_conv", "depthwise.norm": "_bn1",
        "project.conv": "_project_conv", "project.norm": "_bn2", "se.reduce": "_se_reduce", "se.expand": "_se_expand",
    }  # fmt: skip
    if name in places:
        return places[name]
    scope, part = name.split("/")
    _, stage, layer = scope.split(".")
    return f"_blocks.{2 * int(stage) + int(layer)}.{parts[part]}"


def plain(name: str, expands: bool) -> str:
    return name.replace("/", ".")


def to_torch(graph: Graph, variables: HostVariables, names: Names) -> dict[str, np.ndarray]:
    """Our variables under PyTorch's names, in its layouts and in the order of modules: a shortcut is registered last."""
    expanding = {node.scope for node in graph.nodes if node.name.endswith("/expand.conv")}
    out: dict[str, np.ndarray] = {}
    for node in graph.nodes:
        own = {**variables["params"].get(node.name, {}), **variables["stats"].get(node.name, {})}
        for name, array in own.items():
            key = f"{names(node.name, node.scope in expanding)}.{OURS[name]}"
            assert key not in out
            out[key] = array
            if name == "kernel":
                out[key] = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        if "mean" in own:
            out[f"{names(node.name, node.scope in expanding)}.num_batches_tracked"] = np.array(3)
    return out


def same(a: Variables, b: Variables) -> bool:
    rows = [(part, node, name) for part, nodes in a.items() for node, arrays in nodes.items() for name in arrays]
    return all(np.array_equal(a[part][node][name], b[part][node][name]) for part, node, name in rows)


KINDS = (".pth", ".npz", ".safetensors")
CASES: dict[str, tuple[Callable[[], Graph], Names]] = {
    "timm": (mobile, timm), "efficientnet_pytorch": (mobile, efficientnet_pytorch), "plain": (mobile, plain),
    "basic": (lambda: residual("residual"), timm), "bottleneck": (lambda: residual("bottleneck"), timm),
}  # fmt: skip


@pytest.mark.parametrize("name, kind", [(name, kind) for name in CASES for kind in KINDS if name != "plain" or kind != KINDS[-1]])
def test_every_array_finds_its_place(name: str, kind: str, tmp_path: Path) -> None:
    """In the order of modules, and sorted by name as safetensors files are, where letters put ten before two."""
    make, names = CASES[name]
    graph, path = make(), tmp_path / f"a{kind}"
    variables = settled(graph)
    arrays = to_torch(graph, variables, names)
    if kind == ".pth":
        write_torch(path, {"state_dict": arrays})
    elif kind == ".npz":
        save_arrays(path, arrays)
    else:
        path.write_bytes(safetensors.to_bytes({name: a for name, a in arrays.items() if "num_batches" not in name}))
    imported = starting_weights(str(path), graph, 0)
    assert imported.fresh == ()
    assert same(imported.variables, variables)


@pytest.mark.parametrize("head", [{}, {"dropout": 0.5, "dropout_at": "before"}, {"dropout": 0.5}], ids=str)
def test_flat_pixels_are_put_in_our_order(head: dict[str, Any]) -> None:
    """PyTorch's flat feature map runs over rows and columns of a channel first; ours over the channels of a pixel."""
    graph = dense(**head)
    variables = settled(graph)
    arrays = to_torch(graph, variables, plain)
    ours = variables["params"]["head/dense1"]["kernel"]
    (name,) = [name for name in arrays if name.endswith("dense1.weight")]
    height = width = 4
    channels = ours.shape[0] // (height * width)
    theirs = np.zeros_like(arrays[name])
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                theirs[:, (c * height + y) * width + x] = ours[(y * width + x) * channels + c]
    imported = import_state_dict({**arrays, name: theirs}, graph, init(graph, 0))
    assert same(imported.variables, variables)


def test_layers_of_classifiers_and_1x1_convolutions_are_one_kind() -> None:
    """MobileNetV3's last stage is dense in torchvision and a convolution of one pixel in timm."""
    head = {"op": "mobilenet_v3", "conv": 8, "width": 10}
    graph = graph_of({"op": "conv", "width": 4}, [{"op": "conv", "repeat": 1, "width": 6, "stride": 1}], head)
    variables = settled(graph)
    arrays = to_torch(graph, variables, plain)
    arrays["head.wide.weight"] = arrays["head.wide.weight"][:, :, 0, 0]
    arrays["head.logits.weight"] = arrays["head.logits.weight"][:, :, None, None]
    assert same(import_state_dict(arrays, graph, init(graph, 0)).variables, variables)


def test_other_classes_and_auxiliary_classifiers(tmp_path: Path) -> None:
    variables = settled(mobile())
    arrays = {"aux1.fc.weight": np.ones((5, 3), np.float32), **to_torch(mobile(), variables, timm)}
    graph = mobile(classes=3)
    imported = starting_weights(str(write_torch(tmp_path / "a.pth", {"model": arrays, "epoch": 1})), graph, 0)
    assert imported.fresh == ("head/logits",)
    assert imported.notes == ("read from model; not read: epoch", "not read, as they serve training alone: aux1")
    start = init(graph, 0)["params"]["head/logits"]
    smaller = np.float32(np.sqrt(3 / start["kernel"].shape[0]))  # as `starting_weights` has it of a classifier behind trained features
    assert same({"params": {"head/logits": {**start, "kernel": start["kernel"] * smaller}}}, imported.variables)
    assert same({"stats": variables["stats"]}, imported.variables)


def test_a_file_without_its_top_leaves_the_head_fresh() -> None:
    graph = mobile()
    arrays = {k: a for k, a in to_torch(graph, settled(graph), timm).items() if not k.startswith(("classifier", "conv_head", "bn2"))}
    assert import_state_dict(arrays, graph, init(graph, 0)).fresh == ("head/conv.conv", "head/conv.norm", "head/logits")


def changed(key: str, change: Callable[[np.ndarray], Any]) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    def apply(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        value = change(arrays[key])
        return {name: value if name == key else a for name, a in arrays.items() if name != key or value is not None}

    return apply


FAULTS: list[tuple[Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], str]] = [
    (changed("conv_stem.weight", lambda a: a[:, :2]),
     "stem/conv: kernel: expected shape (3, 3, 3, 8), got shape (3, 3, 2, 8) from layer conv_stem"),
    (changed("blocks.0.0.conv_dw.weight", lambda a: None), "stages.0.1/depthwise.conv: no convolution or dense layer is left for it"),
    (lambda arrays: {**arrays, "extra.weight": np.ones((2, 2), np.float32), "extra.bias": np.ones(2, np.float32)},
     "layer extra is left over: the architecture has"),
    (changed("blocks.1.0.conv_pw.weight", lambda a: a.astype(np.int8)), "blocks.1.0.conv_pw.weight: int8 numbers; expected floats"),
    (changed("bn1.weight", lambda a: None), "bn1: a batch norm with bias, running_mean, running_var; expected weight"),
    (changed("bn1.running_mean", lambda a: a[:3]), "norm: mean: expected shape (8,), got shape (3,) from layer bn1"),
    (lambda arrays: {**arrays, "blocks.0.0.gamma": np.ones(3, np.float32)}, "blocks.0.0.gamma: an array of a layer that has no"),
    (lambda arrays: {**arrays, "ln.weight": np.ones(3, np.float32)}, "ln: a layer with weight (3,) has no counterpart"),
    (lambda arrays: {**arrays, "blocks.0.0.conv_pw.bias": np.ones(8, np.float32)}, "project.conv: bias: expected none, got shape (8,)"),
    (lambda arrays: dict(reversed(arrays.items())), "the layers of the file have another order"),
]  # fmt: skip


@pytest.mark.parametrize("change, words", FAULTS)
def test_what_does_not_fit_is_named(change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], words: str) -> None:
    graph = mobile()
    with pytest.raises(ValueError, match=re.escape(words)) as found:
        import_state_dict(change(to_torch(graph, settled(graph), timm)), graph, init(graph, 0))
    assert "\n" not in str(found.value)


def test_sorted_words_say_no_order() -> None:
    """`depthwise.norm` would be sorted before `expand.norm`, which has its shape and comes first."""
    graph = mobile()
    arrays = dict(sorted(to_torch(graph, settled(graph), plain).items()))
    with pytest.raises(ValueError, match=r"which of stages\.0\.0\.depthwise\.norm and stages\.0\.0\.project\.norm comes first"):
        import_state_dict(arrays, graph, init(graph, 0))


def test_a_shortcut_is_known_by_its_name() -> None:
    graph = residual("residual")
    arrays = {k.replace("downsample", "other"): a for k, a in to_torch(graph, settled(graph), timm).items()}
    with pytest.raises(ValueError, match=r"stages\.1\.0/shortcut\.conv: .* one is a shortcut \(downsample, shortcut, skip\)"):
        import_state_dict(arrays, graph, init(graph, 0))


@pytest.mark.parametrize(
    "names",
    [
        ["bn1", "conv1", "layer1.0.conv1", "layer1.2.conv1", "layer1.10.conv1", "layer4.0.conv1", "fc"],
        ["features.conv0", "features.norm0", "features.denseblock1.denselayer2.norm1", "features.transition1.norm",
         "features.denseblock2.denselayer1.norm1", "features.norm5", "classifier"],
        ["_conv_stem", "_blocks.2._bn0", "_blocks.10._bn0", "_conv_head", "_fc"],
        ["conv_stem", "blocks.2.0.dw_start.bn", "blocks.2.0.pw_exp.bn", "blocks.2.0.dw_mid.bn", "blocks.2.0.pw_proj.bn",
         "blocks.2.0.dw_end.bn", "conv_head", "norm_head", "classifier"],
    ],
)  # fmt: skip
def test_sorted_names_are_put_in_order(names: list[str]) -> None:
    assert [layer.name for layer in in_order([TorchLayer(name, False, {}) for name in sorted(names)])] == names


NOTED = "padding: torch and most often norm_eps: 1.0e-05; this architecture pads otherwise"
NOTE = f"as a network of timm it has {NOTED}"


@pytest.mark.parametrize(
    "origin, file, padding, note",
    [
        ("", "a.pth", "same", None),
        ("torchvision:", "a.pth", "same", f"as a network of torchvision it has {NOTED}"),
        ("torchvision:", "a.pth", "torch", None),
        ("timm:", "mobilenetv3_small.pth", "same", NOTE),
        ("timm:", "tf_mobilenetv3_small.pth", "same", None),
        ("timm:", "tf_mobilenetv3_small/model.safetensors", "torch", "as a network of timm it has padding: same"),
    ],
)
def test_how_the_files_network_pads_is_said(origin: str, file: str, padding: str, note: str | None, tmp_path: Path) -> None:
    """Shapes do not show it, and a network that pads otherwise loses points without an error."""
    graph = mobile(padding=padding)
    arrays = to_torch(graph, settled(graph), timm)
    (path := tmp_path / file).parent.mkdir(exist_ok=True)
    if path.suffix == ".pth":
        write_torch(path, arrays)
    else:
        path.write_bytes(safetensors.to_bytes(arrays))
    notes = starting_weights(f"{origin}{path}", graph, 0).notes
    assert (notes == ()) if note is None else (note in notes[0])


def test_an_export_reads_them_whole_and_says_what_was_read(tmp_path: Path) -> None:
    arch = mobile_arch()
    lines: list[str] = []
    variables = settled(lower(arch))
    path = write_torch(tmp_path / "a.pth", {"ema": to_torch(lower(arch), variables, timm), "net": {"x": np.ones(1, np.float32)}})
    assert same(whole_weights(f"timm:{path}", arch, lines.append), variables)
    assert [line.partition(";")[0] for line in lines] == ["weights: read from ema", "weights: " + NOTE.partition(";")[0]]
    with pytest.raises(ValueError, match=r"weights: head/logits are not for 3 classes"):
        whole_weights(str(path), mobile_arch(3))


def test_a_bundles_own_safetensors_are_a_start(tmp_path: Path) -> None:
    graph = mobile()
    variables = settled(graph)
    (tmp_path / "weights.safetensors").write_bytes(safetensors.to_bytes(safetensors.flat(variables)))
    for source in (tmp_path / "weights.safetensors", tmp_path):
        assert same(starting_weights(str(source), graph, 0).variables, variables)


@pytest.mark.parametrize("form", WRITERS)
def test_a_file_of_pytorch_under_another_name_is_pointed_to_its_reader(form: str, tmp_path: Path) -> None:
    write_torch(tmp_path / "a.npz", {"a.weight": np.ones((2, 2), np.float32)}, form)
    with pytest.raises(ValueError, match=r"a\.npz: no weights file: .* read by weights= of nas train, under a name that ends in \.pth"):
        load_weights(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "name, words", [("none.pth", "no such file"), ("none.safetensors", "no such file"), ("x.h5", "write weights=keras:")]
)
def test_files_that_are_not_there(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / name))}: .*{words}"):
        starting_weights(str(tmp_path / name), mobile(), 0)
