"""From an architecture to its graph of primitives."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from nas.arch import Arch, Block, Knob
from nas.arch.blocks.registry import BLOCKS, HEADS, knobs_of, reads_taps, resolve
from nas.arch.blocks.taps import Taps, TapShapes, Tracker, inputs_of
from nas.arch.builder import Builder
from nas.arch.graph import Graph, Node, Shape
from nas.core.settings import nearest


def lower_layer(g: Builder, x: int, block: Block, stride: int, defaults: Mapping[str, Knob], where: str) -> int:
    """Appends one layer of an architecture to the graph."""
    fn, knobs = resolve(block, defaults, where)
    try:
        return fn(g, x, stride=stride, **knobs)
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from None


def lower_head(g: Builder, x: int, arch: Arch, where: str, taps: Taps | None = None) -> dict[str, int]:
    """Appends the head; its outputs by name, the only one of most heads being `output`."""
    fn, knobs = resolve(arch.head, dict(arch.defaults), where, HEADS)
    if reads_taps(arch.head.op):
        if taps is None:
            raise ValueError(f"{where}: {arch.head.op} reads the feature maps of several layers")
        knobs["taps"] = taps
    try:
        out = fn(g, x, classes=arch.classes, **knobs)
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from None
    return {"output": out} if isinstance(out, int) else dict(out)


def builder(arch: Arch) -> Builder:
    return Builder(padding=arch.padding, norm_eps=arch.norm_eps, norm_momentum=arch.norm_momentum)


def lower_alone(
    arch: Arch, scope: str, block: Block, stride: int, shape: Shape, where: str = "", drop_rate: float = 0.0, dilation: int = 1,
    taps: TapShapes | None = None,
) -> tuple[list[Node], dict[str, int]]:  # fmt: skip
    """One layer of an architecture, or its head, by itself.

    Args:
        arch: Gives padding, norms, defaults and classes.
        scope: `stem`, `stages.2.0` or `head`, which names of primitives begin with.
        block: What stands there.
        stride: Of the layer.
        shape: (height, width, channels) of its input.
        where: Opens the messages of errors; empty: the scope.
        drop_rate: Stochastic depth of the layer.
        dilation: Of the layer's convolutions.
        taps: What a head with the argument `taps` reads; the last is its input, whose `shape` is not read then.

    Returns:
        The primitives, the layer's input first (of a head with taps, one for each), and which of them are its outputs, by name.

    Raises:
        ValueError: Naming the place, for a block that cannot be built.

    Example:
        >>> from nas.arch.find import find_arch
        >>> nodes, outputs = lower_alone(find_arch("mobilenet_v2"), "stem", Block.of("conv", width=8), 2, (32, 32, 3))
        >>> nodes[outputs["output"]].shape
        (16, 16, 8)
    """
    g = builder(arch)
    given = inputs_of(g, taps) if taps else None
    x = len(g.nodes) - 1 if taps else g.input(shape)
    g.scope, g.drop_rate, g.dilation = scope, drop_rate, dilation
    if scope == "head":
        return g.nodes, lower_head(g, x, dataclasses.replace(arch, head=block), where or scope, given)
    return g.nodes, {"output": lower_layer(g, x, block, stride, dict(arch.defaults), where or scope)}


def lower(arch: Arch, where: str = "") -> Graph:
    """The network as primitives with shapes.

    Taps C1 .. Cn are the outputs of the last layer before the image is halved for the next time (Cn at stride 2^n).
    Raises ValueError naming the place, in the words of the architecture's file.
    """
    prefix = f"{where}: " if where else ""
    _check_defaults(dict(arch.defaults), f"{prefix}defaults")
    if "output_stride" in dict(arch.head.knobs):  # then the head decides how the layers before it are built
        resolve(arch.head, dict(arch.defaults), f"{prefix}head", HEADS)
    g = builder(arch)
    tracker, levels = _layers(g, arch, prefix)
    x = tracker.maps[tracker.stride]
    g.scope, g.dilation = "head", 1
    outputs = lower_head(g, x, arch, f"{prefix}head", tracker.taps(g.shape(0)))
    return Graph(tuple(g.nodes), tuple(levels.items()), tuple(outputs.items()) if len(outputs) > 1 else ())


def tapped(arch: Arch) -> tuple[list[Node], Taps]:
    """The primitives of all but the head, and which of them a head may read. Raises ValueError as `lower` does."""
    g = builder(arch)
    tracker, _ = _layers(g, arch, "")
    return g.nodes, tracker.taps(g.shape(0))


def _layers(g: Builder, arch: Arch, prefix: str) -> tuple[Tracker, dict[str, int]]:
    """Appends all but the head; the taps, and C1 .. Cn."""
    x = g.input((arch.resolution, arch.resolution, arch.channels))
    layers, places, defaults = list(arch.placed())[:-1], _places(arch), dict(arch.defaults)
    tracker, levels = Tracker(), dict[str, int]()
    for i, (scope, block, stride, dilation) in enumerate(layers):
        g.scope, g.drop_rate, g.dilation = scope, arch.drop_path * max(i - 1, 0) / max(len(layers) - 1, 1), dilation
        y = lower_layer(g, x, block, stride, defaults, prefix + places[scope])
        tracker.layer(x, y, stride, g.nodes)
        x = y
        if (level := _level(arch.resolution, g.shape(x))) is not None:
            levels[f"C{level}"] = x
    return tracker, levels


def arch_id(arch: Arch) -> str:
    """12 hex digits of the lowered network; equal for two spellings of the same network."""
    return lower(arch).id


def _level(resolution: int, shape: Shape) -> int | None:
    level = max(resolution // shape[0], 1).bit_length() - 1
    return level if level > 0 and -(-resolution // 2**level) == shape[0] else None


def _places(arch: Arch) -> dict[str, str]:
    """Where each layer stands in its file; a stage of equal layers has no list of them."""
    places = {"stem": "stem"}
    for i, stage in enumerate(arch.stages):
        listed = len(set(stage.layers)) > 1
        for j in range(stage.repeat):
            places[f"stages.{i}.{j}"] = f"stages[{i}].layers[{j}]" if listed else f"stages[{i}]"
    return places


def _check_defaults(defaults: Mapping[str, Knob], where: str) -> None:
    known = sorted({knob for op in (*BLOCKS, *HEADS) for knob in knobs_of(op)})
    for key in defaults:
        if key == "output_stride":
            raise ValueError(f"{where}.{key}: is a knob of the head alone")
        if key not in known:
            near = nearest(key, known)
            raise ValueError(f"{where}.{key}: no block has such a knob" + (f"; did you mean {near!r}?" if near else ""))
