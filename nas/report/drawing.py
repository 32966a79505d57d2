"""A drawing of an architecture: stages as rows of blocks, with kernel, expansion, width, squeeze-excite, size and multiply-adds."""

from __future__ import annotations

from collections import defaultdict

from nas.arch import Arch
from nas.arch.arch import Block, Knob
from nas.arch.graph import sides
from nas.cost import Cost, LayerCost, cost
from nas.report import svg
from nas.report.format import si

LEFT, BOX, GAP, HEIGHT, ROW = 96, 152, 8, 46, 62
BARS = 150  # the column of multiply-adds
ACROSS = 5  # blocks a line; further ones of a stage stand below
TOP = 46
NAME_WIDTH = 7.0  # of a letter of 12 px, a little too wide on the average
ACTS = {"hswish": "h-swish", "relu": "ReLU", "relu6": "ReLU6", "swish": "swish", "gelu": "GELU"}


def architecture_svg(arch: Arch) -> str:
    """The drawing as a stand-alone SVG file.

    Example:
        >>> from nas.arch.find import find_arch
        >>> architecture_svg(find_arch("mobilenet_v3_small"))[:4]
        '<svg'
    """
    markup, width, height = architecture_plot(arch)
    return svg.standalone(markup, width, height, f"the architecture {arch.name}")


def architecture_plot(arch: Arch) -> tuple[str, int, int]:
    """(markup, width, height) of the drawing, in the colors of the plots."""
    counted = cost(arch)
    rows = _rows(arch, counted)
    across = min(max(len(blocks) for _, blocks in rows), ACROSS)
    bars_at = LEFT + across * (BOX + GAP) + 12
    parts, y = [_heading(arch, counted, bars_at)], TOP
    colors = {op: f"s{i % svg.SERIES}" for i, op in enumerate(dict.fromkeys(c.op for _, row in rows for _, c in row))}
    largest = max(sum(layer.macs for _, layer in row) for _, row in rows)
    for name, row in rows:
        lines = -(-len(row) // ACROSS)
        parts.append(_row_label(name, row[-1][1], y))
        for i, (block, layer) in enumerate(row):
            line, place = divmod(i, ACROSS)
            parts.append(_box(block, layer, LEFT + place * (BOX + GAP), y + line * (HEIGHT + GAP), colors[layer.op]))
        macs = sum(layer.macs for _, layer in row)
        parts += _bar(macs, macs / max(counted.macs, 1), macs / max(largest, 1), bars_at, y)
        y += ROW + (lines - 1) * (HEIGHT + GAP)
    return "".join(parts), bars_at + BARS, y + 6


def _rows(arch: Arch, counted: Cost) -> list[tuple[str, list[tuple[Block, LayerCost]]]]:
    """(name, blocks with their costs) of the stem, every stage and the head."""
    layers: dict[str, list[LayerCost]] = defaultdict(list)
    for layer in counted.layers:
        layers[layer.name.rpartition(".")[0] or layer.name].append(layer)
    blocks = {"stem": [arch.stem], **{f"stages.{i}": list(s.layers) for i, s in enumerate(arch.stages)}, "head": [arch.head]}
    return [(name, list(zip(found, layers[name], strict=True))) for name, found in blocks.items()]


def _heading(arch: Arch, counted: Cost, bars_at: int) -> str:
    text = f"{arch.name}: {arch.resolution} px, {_count(counted.params)} parameters, {_count(counted.macs)} multiply-adds"
    return svg.text(16, 26, text, class_="heading") + svg.text(bars_at, 26, "multiply-adds")


def _row_label(name: str, last: LayerCost, y: int) -> str:
    height, width, _ = last.output
    size = f"{height} \u00d7 {width}" if height * width > 1 else "1 pixel"
    return svg.text(16, y + 20, name.replace("stages.", "stage "), class_="name") + svg.text(16, y + 36, size)


def _box(block: Block, layer: LayerCost, x: int, y: int, color: str) -> str:
    knobs = dict(block.knobs)
    width, se = f"{layer.output[2]:,}", knobs.get("se")
    window = knobs.get("kernel")
    kernel = " " + "\u00d7".join(map(str, sides(window))) if isinstance(window, int | tuple) else ""
    first = _shortened(layer.op, int((BOX - 24) / NAME_WIDTH) - len(kernel) - len(width)) + kernel
    parts = [
        svg.tag("title", _title(layer)),
        svg.tag("rect", x=x, y=y, width=BOX, height=HEIGHT, rx=6, class_=f"block {color}"),
        svg.text(x + 8, y + 19, first, class_="name"),
        svg.text(x + BOX - 8, y + 19, width, class_="name", text_anchor="end"),
        svg.text(x + 8, y + 36, _details(knobs)),
    ]
    if isinstance(se, int | float) and se:
        parts.append(svg.text(x + BOX - 8, y + 36, f"SE {se:g}", class_="se", text_anchor="end"))
    return svg.group(parts)


def _title(layer: LayerCost) -> str:
    size = "\u00d7".join(map(str, layer.output))
    return f"{layer.name}: {size}, {layer.params:,} parameters, {layer.macs:,} multiply-adds"


def _details(knobs: dict[str, Knob]) -> str:
    expand, act = knobs.get("expand"), knobs.get("act")
    parts = [f"\u00d7{expand:g}" if isinstance(expand, int | float) else "", ACTS.get(str(act), str(act)) if act else ""]
    return " \u00b7 ".join(filter(None, parts))


def _bar(macs: int, fraction: float, length: float, x: int, y: int) -> list[str]:
    room = BARS - 70
    return [
        svg.tag("rect", x=x, y=y + 10, width=max(room * length, 1.0), height=12, rx=2, class_="front"),
        svg.text(x + room * length + 6, y + 20, f"{100 * fraction:.0f} %"),
        svg.text(x, y + 36, _count(macs)),
    ]


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(most - 1, 1)] + "\u2026"


def _count(value: int) -> str:
    return f"{value:,}" if value < 10_000 else si(float(value))
