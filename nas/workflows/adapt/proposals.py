"""Proposals of NetAdapt: each shrinks one thing of an architecture (MobileNetV3, arXiv:1905.02244, section 4.2).

An expansion; a bottleneck, in all blocks that residuals tie to one width; a kernel, to the next smaller odd size; a
squeeze-and-excitation, taken out. For steps that few such changes make alone, a stage: all its expansions, in proportion. The
architecture has absolute widths here (`absolute`), so that nothing else moves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from nas.arch import Arch, Block
from nas.arch.blocks import builder, lower_layer
from nas.arch.blocks.mobile import expanded
from nas.arch.blocks.registry import knob_values
from nas.records import JSON

KINDS = ("expansion", "bottleneck", "kernel", "se")  # the papers'
STEP = 8  # channels are taken away in multiples of this
STEM = -1  # the row of the stem, which a residual around the first layer ties to it


@dataclass(frozen=True)
class Change:
    """One thing that can shrink: `name` states what and where; `smaller()` yields ever smaller architectures."""

    name: str
    smaller: Callable[[], Iterator[Arch]]


def absolute(arch: Arch) -> Arch:
    """The same network with widths in place of ratios: an expansion's `hidden`, an SE's `se_width`, in every layer.

    A layer without an expansion keeps `expand: 1`, so that its depthwise follows its input.
    """
    g, defaults = builder(arch), dict(arch.defaults)
    x = g.input((arch.resolution, arch.resolution, arch.channels))
    blocks = []
    for scope, block, stride in list(arch.layers())[:-1]:
        g.scope, width, before = scope, g.width(x), len(g.nodes)
        knobs = knob_values(block, defaults, scope) if scope != "stem" else {}
        x = lower_layer(g, x, block, stride, defaults, scope)
        names = {node.name.removeprefix(f"{scope}/"): node.shape[2] for node in g.nodes[before:]}
        if block.op in ("mbconv", "fused_mbconv"):
            hidden = expanded(_Width(width), 0, knobs["expand"], knobs["hidden"], knobs["divisor"])  # type: ignore[arg-type]
            plain = hidden == width and not knobs["force_expand"]
            fixed = (
                {"expand": 1, "hidden": 0, "divisor": 1}
                if plain
                else {"expand": 0, "hidden": hidden, "force_expand": True}
            )
            block = block.replace(**fixed)
        if block.op == "uib":
            block = block.replace(expand=0, hidden=names["expand.conv"])
        if "se.reduce" in names:
            block = block.replace(se=0, se_width=names["se.reduce"])
        blocks.append(block)
    return _with_layers(arch, blocks[1:])


class _Width:
    """Stands for a builder where only the width of the input is asked for."""

    def __init__(self, width: int):
        self._width = width

    def width(self, x: int) -> int:
        return self._width


def _layers(arch: Arch) -> list[Block]:
    return [layer for stage in arch.stages for layer in stage.layers]


def _with_layers(arch: Arch, layers: list[Block]) -> Arch:
    stages, start = [], 0
    for stage in arch.stages:
        stages.append(dataclasses.replace(stage, layers=tuple(layers[start : start + stage.repeat])))
        start += stage.repeat
    return dataclasses.replace(arch, stages=tuple(stages))


def _places(arch: Arch) -> list[str]:
    return [f"stages[{i}].layers[{j}]" for i, stage in enumerate(arch.stages) for j in range(stage.repeat)]


def changes(arch: Arch, kinds: tuple[str, ...] = KINDS) -> list[Change]:
    """Everything that may shrink in an absolute architecture, in a fixed order."""
    made = {"expansion": _expansions, "bottleneck": _bottlenecks, "kernel": _kernels, "se": _gates, "stage": _stages}
    return [change for kind in kinds for change in made[kind](arch)]


def _replaced(arch: Arch, rows: tuple[int, ...], **knobs: object) -> Arch:
    layers = _layers(arch)
    for row in rows:
        if row == STEM:
            arch = dataclasses.replace(arch, stem=arch.stem.replace(**knobs))
        else:
            layers[row] = layers[row].replace(**knobs)
    return _with_layers(arch, layers)


def _down(width: int) -> Iterator[int]:
    """Multiples of `STEP` under a width, from the largest."""
    yield from range((width - 1) // STEP * STEP, 0, -STEP)


def _expansions(arch: Arch) -> Iterator[Change]:
    for row, (place, layer) in enumerate(zip(_places(arch), _layers(arch), strict=True)):
        if hidden := layer.get("hidden", 0):

            def smaller(row: int = row, hidden: int = hidden) -> Iterator[Arch]:
                return (_replaced(arch, (row,), hidden=width) for width in _down(hidden))

            yield Change(f"expansion of {place}", smaller)


def _stages(arch: Arch) -> Iterator[Change]:
    """All expansions of a stage with two or more, the widest by `STEP` at a time, the others in proportion."""
    row, layers = 0, _layers(arch)
    for i, stage in enumerate(arch.stages):
        rows = [r for r in range(row, row + stage.repeat) if layers[r].get("hidden", 0)]
        row += stage.repeat
        if len(rows) < 2:
            continue
        widest = max(layers[r].get("hidden", 0) for r in rows)

        def smaller(rows: list[int] = rows, widest: int = widest) -> Iterator[Arch]:
            for width in _down(widest):
                narrower = arch
                for r in rows:
                    hidden = max(layers[r].get("hidden", 0) * width // widest // STEP * STEP, STEP)
                    narrower = _replaced(narrower, (r,), hidden=hidden)
                yield narrower

        yield Change(f"expansions of stages[{i}]", smaller)


def _bottlenecks(arch: Arch) -> Iterator[Change]:
    """Those that leave the residuals as they are: a width equal to the one before would add one that was never trained."""
    places, layers, before = _places(arch), _layers(arch), tied(arch)
    for rows in before:
        if not (width := layers[rows[-1]].get("width", 0)):
            continue

        def smaller(rows: tuple[int, ...] = rows, width: int = width) -> Iterator[Arch]:
            made = (_replaced(arch, rows, width=narrower) for narrower in _down(width))
            return (one for one in made if tied(one) == before)

        first = "stem" if rows[0] == STEM else places[rows[0]]
        where = first if len(rows) == 1 else f"{first} to {places[rows[-1]]}"
        yield Change(f"bottleneck of {where}", smaller)


def tied(arch: Arch) -> list[tuple[int, ...]]:
    """Runs of layers, numbered through the stages, whose outputs have one width because residuals add them up."""
    before = arch.stem.get("width", 0)
    runs: list[list[int]] = [[STEM]]
    row = 0
    for stage in arch.stages:
        for j, layer in enumerate(stage.layers):
            width = layer.get("width", 0)
            if width in (0, before) and (j > 0 or stage.stride == 1):
                runs[-1].append(row)
            else:
                runs.append([row])
            before, row = width or before, row + 1
    return [tuple(run) for run in runs if run != [STEM]]


def kernel_of(arch: Arch, layer: Mapping[str, JSON]) -> int:
    return layer.get("kernel", dict(arch.defaults).get("kernel", 3))


def smaller_kernels(arch: Arch, layer: Mapping[str, JSON]) -> list[int]:
    """Odd sizes from the next smaller one down to 3; none where the layer's kernel cannot shrink, or is no square."""
    shrinks = layer["op"] in ("mbconv", "fused_mbconv", "sepconv", "conv")
    kernel = kernel_of(arch, layer)
    return list(range(kernel - 2, 2, -2)) if shrinks and isinstance(kernel, int) else []


def _kernels(arch: Arch) -> Iterator[Change]:
    for row, (place, layer) in enumerate(zip(_places(arch), _layers(arch), strict=True)):
        if sizes := smaller_kernels(arch, layer.to_dict()):

            def smaller(row: int = row, sizes: list[int] = sizes) -> Iterator[Arch]:
                return (_replaced(arch, (row,), kernel=size) for size in sizes)

            yield Change(f"kernel of {place}", smaller)


def _gates(arch: Arch) -> Iterator[Change]:
    for row, (place, layer) in enumerate(zip(_places(arch), _layers(arch), strict=True)):
        if layer.get("se_width", 0):

            def smaller(row: int = row) -> Iterator[Arch]:
                return iter([_replaced(arch, (row,), se=0, se_width=0)])

            yield Change(f"squeeze-and-excitation of {place}", smaller)


def within(change: Change, latency: Callable[[Arch], float], most_ms: float) -> Arch | None:
    """The largest architecture of a change that takes at most `most_ms`."""
    return next((arch for arch in change.smaller() if latency(arch) <= most_ms), None)
