"""The laws of blocks: shapes, names, and their place in a search space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nas.arch import Arch, arch_from_dict
from nas.arch.blocks import lower
from nas.cost import Costs, cost
from nas.space import Space
from nas.testing.require import require

WIDTH, SIDE = 24, 12  # of what comes into the block


def network_of(block: Mapping[str, Any], stride: int = 1, width: int = WIDTH, repeat: int = 1, **top: Any) -> Arch:
    """A network of one stage, whose input is (12, 12, width); `top`: other keys of the architecture."""
    stem = {"op": "conv", "kernel": 3, "width": width}
    stage = {**block, "stride": stride, "repeat": repeat}
    data = {"resolution": SIDE, "classes": 5, "stem": stem, "stages": [stage], "head": {"op": "classifier"}}
    return arch_from_dict({**data, **top})


def check_block(
    op: str, knobs: Mapping[str, object] | None = None, *, width: int | None = None, strides: Sequence[int] = (1, 2)
) -> None:
    """Checks the laws of a block: its shapes under strides and paddings, names of nodes, exact costs, a place in a space.

    Args:
        op: Its name in `BLOCKS`, after the plugin that has it was loaded.
        knobs: Knobs that it needs, such as `{"width": 24}`; its input has 24 channels.
        width: Channels that come out; None: the knob `width`, or as many as come in.
        strides: Strides that it knows.

    Raises:
        AssertionError: Naming the law that is broken and where.
        ValueError: For an unknown block or knob.

    Example:
        >>> from nas.testing import check_block
        >>> check_block("mbconv", {"width": 24, "expand": 3})
    """
    block = {"op": op, **(knobs or {})}
    out = block.get("width", WIDTH) if width is None else width
    for stride in strides:
        for padding in ("same", "torch"):
            _check_graph(
                network_of(block, stride, padding=padding),
                f"{op} with stride {stride}",
                (SIDE // stride, SIDE // stride, out),
            )
    _check_in_space(block)


def _check_graph(arch: Arch, where: str, shape: tuple[int, ...]) -> None:
    graph = lower(arch)
    inside = [node for node in graph.nodes if not node.name.startswith("head")]
    require(
        inside[-1].shape == shape, f"{where}: a stride divides the size", f"expected {shape}, got {inside[-1].shape}"
    )
    names = [node.name for node in graph.nodes]
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, f"{where}: names of nodes differ, as they are keys of the weights", ", ".join(twice))
    require(lower(arch).nodes == graph.nodes, f"{where}: the same knobs give the same graph")


def _check_in_space(block: Mapping[str, Any]) -> None:
    """Chosen for each layer beside the identity: costs of genomes equal those of decoded networks, decoding has an inverse."""
    op = str(block["op"])
    choice: dict[str, Any] = {"block": {"one_of": [{"op": "identity"}, dict(block)], "per": "layer"}, "repeat": 2}
    if op == "identity":
        choice = {"block": {"one_of": [{"op": "identity"}, {"op": op, "width": 32}]}}
    stem, resolution = {"op": "conv", "width": WIDTH}, {"one_of": [8, SIDE]}
    data = {
        "resolution": resolution,
        "stem": stem,
        "classes": 5,
        "name": op,
        "stages": [choice],
        "head": {"op": "classifier"},
    }
    space = Space.from_dict(data, op)
    genomes = list(space.enumerate())
    counted = Costs(space)(genomes)["macs"].tolist()
    exact = [cost(space.decode(genome)).macs for genome in genomes]
    require(counted == exact, f"{op}: multiply-adds of a genome are those of its network", f"{counted} and {exact}")
    again = space.encode(space.decode(genomes[-1]))
    require(again == genomes[-1], f"{op}: a network has the genome that it was decoded from", f"{genomes[-1]}, {again}")
