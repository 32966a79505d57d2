"""Exact costs of many genomes at once.

A layer's cost follows from its block, its stride and dilation and the shape that feeds it, so each such combination is lowered
once; a genome is then a walk along the template, one table lookup a layer, done for all genomes together. A head that reads several
feature maps is looked up by all their shapes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from nas.arch import Block, Knob, Stage, placed_strides
from nas.arch.blocks import HEADS, reads_taps
from nas.arch.graph import Graph
from nas.cost.features import FEATURES
from nas.cost.keys import MOVES, SHAPES, Conditions, Memo, Part
from nas.cost.tapped import TapWalk, memory, reduced, shapes_of, structure_of, unread
from nas.cost.units import Move, Units
from nas.space import Hole, Pairs, Space

METRICS = ("params", "macs", "memory_bytes")
WARM, CHUNK = 12_000, 256


def _head_ops(space: Space) -> Iterator[str]:
    """The head of every architecture of a space."""
    for key, value in space.head:
        options = space.genes[value.gene].options if isinstance(value, Hole) else (value,)
        yield from (option if key == "op" else option["op"] for option in options if key == "op" or (key == "block" and "op" in option))


class Costs:
    """Exact costs of the genomes of a space, and the analytic features of its stages.

    The first call also looks at random genomes until few new layers turn up, so that the calls after it are fast.
    Inactive genes may hold anything.

    Args:
        space: The space; the genomes of every call are its own.

    Raises:
        ValueError: In a call, for a genome whose architecture cannot be built.

    Example:
        >>> import numpy as np
        >>> from nas import load_space
        >>> from nas.cost import cost
        >>> space = load_space("tiny")
        >>> genome = space.sample(np.random.default_rng(0))
        >>> int(Costs(space)([genome])["params"][0]) == cost(space.decode(genome)).params
        True
    """

    def __init__(self, space: Space):
        self.space = space
        self.groups = ("stem", *(f"stages[{i}]" for i in range(len(space.stages))), "head")
        self.feature_names = tuple(f"{group}.{name}" for group in self.groups for name in FEATURES)
        tapped = any(op in HEADS and reads_taps(op) for op in _head_ops(space))
        self._units = Units(space.base.with_io(None, *space.io[1:]), space.name, tapped)
        self._moves: list[Move] = [(1, 1)]
        self._taps: dict[tuple[int, ...], int] = {}  # a row of `TapWalk` -> its number
        self._tap_rows: list[tuple[int, ...]] = []
        self._skeletons: list[tuple[int, ...]] = []
        self._warm = False
        # Costs and features of the same genomes are asked for in turn.
        self._last: tuple[tuple[int, bytes] | None, np.ndarray, TapWalk | None] = None, np.zeros((0, 0), np.int64), None
        self._plan()

    def __call__(self, genomes: ArrayLike) -> dict[str, np.ndarray]:
        """(n, genes) options -> {"params": (n,), "macs": (n,), "memory_bytes": (n,)} of int64."""
        rows, tables = self._walk(genomes), self._units.tables()
        out = np.zeros((3, rows.shape[1]), np.int64)
        for row in rows:
            counted = tables.costs[row]
            out[0] += counted[:, 0]
            out[1] += counted[:, 1]
            np.maximum(out[2], counted[:, 2], out=out[2])
        if walk := self._last[2]:
            heads, combination = np.unique(rows[-1], return_inverse=True)
            used = [self._units[head].used for head in heads.tolist()]
            out[2] = memory(rows, walk, tables.peaks, used, combination.ravel(), self._units.shapes)
        return dict(zip(METRICS, out, strict=True))

    def features(self, genomes: ArrayLike) -> np.ndarray:
        """(n, genes) options -> (n, f) int64: `FEATURES` summed over stem, each stage and head; `feature_names` names them."""
        rows, tables = self._walk(genomes), self._units.tables()
        out = np.zeros((rows.shape[1], len(self.groups), len(FEATURES)), np.int64)
        for (group, _), row in zip(self._slots, rows, strict=True):
            out[:, group] += tables.features[row]
        return out.reshape(rows.shape[1], -1)

    def layers(self, genomes: ArrayLike) -> np.ndarray:
        """(n, genes) options -> (positions, n) numbers of the layers that stand at each position, 0 where there is none.

        A number means one block fed with one shape, for as long as this object lives; `layer_graph` gives its network.
        `position_groups` says which of `groups` a position belongs to.
        """
        return self._walk(genomes).copy()

    def layer_graph(self, number: int) -> Graph:
        """The layer with that number as a network of its own: its input node alone for 0 and for an identity.

        A head that reads several feature maps has an input node for each.
        """
        return self._units.graph(number)

    @property
    def position_groups(self) -> tuple[int, ...]:
        return tuple(group for group, _ in self._slots)

    def _plan(self) -> None:
        """The parts of the template in the order data meets them, each with its memo."""
        space = self.space
        always = [Hole(h.gene) for h in (space.resolution, *(s.stride for s in space.stages)) if isinstance(h, Hole)]
        of_head = [value for key, value in space.head if key in ("output_stride", "block")]
        self._skeleton = Part(space, [*always, *(value for _, value in space.stem), *of_head])
        self._skeleton_memo = Memo(self._fill_skeleton)
        self._slots: list[tuple[int, int]] = [(0, 0)]
        self._parts: list[tuple[Part, Memo]] = []
        for i, stage in enumerate(space.stages):
            for j, layer in enumerate(stage.layers):
                self._slots.append((i + 1, j))
                self._parts.append(self._part(layer, i))
        self._slots.append((len(space.stages) + 1, 0))
        depths = [s.repeat for s in space.stages]
        options = [(h.gene, np.array(space.genes[h.gene].options)) if isinstance(h, Hole) else h for h in depths]
        self._repeats: list[int | tuple[int, np.ndarray]] = [1, *options, 1]
        self._parts.append(self._part(space.head, None))
        used = [hole.when for part in (self._skeleton, *(p for p, _ in self._parts)) for hole in part.holes]
        self._conditions = Conditions(space, list(dict.fromkeys(when for when in used if when)))

    def _part(self, pairs: Pairs, stage: int | None) -> tuple[Part, Memo]:
        part = Part(self.space, [value for _, value in pairs])

        def fill(key: int) -> int:
            key, shape = divmod(key, SHAPES)
            key, move = divmod(key, MOVES)
            block = self.space.block(pairs, part.pick(key), in_stage=stage is not None)
            if stage is not None:
                return self._units.number(f"stages[{stage}]", block, self._moves[move], self._units.shapes[shape])
            if not self._units.tapped:
                return self._units.number("head", block, (1, 1), self._units.shapes[shape])
            taps = shapes_of(self._tap_rows[shape], self._units.shapes)
            number = self._units.number("head", block, (1, 1), taps if reads_taps(block.op) else taps.levels[-1][1])
            if self._units[number].used & unread(self._tap_rows[shape]):
                raise ValueError(f"{self.space.name}: head: {block.op} chooses by their widths which feature maps it reads")
            return number

        return part, Memo(fill)

    def _fill_skeleton(self, key: int) -> int:
        """Lowers the stem; notes its unit, the image's side, and the moves of stages' first and later layers, fitted to the dataset."""
        space, pick = self.space, self._skeleton.pick(key)

        def fill(value: Knob | Hole) -> Knob:
            return space.genes[value.gene].options[pick(Hole(value.gene)) or 0] if isinstance(value, Hole) else value

        stages = tuple(Stage((Block("identity"),), fill(stage.stride)) for stage in space.stages)
        asked = [(name, value) for name, value in space.head if name in ("output_stride", "block")]
        head = space.block((("op", "head"), *asked), pick)
        arch = dataclasses.replace(
            space.base, resolution=fill(space.resolution), stem=space.block(space.stem, pick), stages=stages, head=head
        )
        arch = arch.with_io(*space.io)
        stem, *moves = placed_strides(arch.strides(), arch.output_stride)
        unit = self._units.number("stem", arch.stem, stem, (arch.resolution, arch.resolution, arch.channels))
        first, rest = ([self._move(move) for move in found] for found in (moves, [(1, dilation) for _, dilation in moves]))
        self._skeletons.append((unit, arch.resolution, stem[0], *first, *rest))
        return len(self._skeletons) - 1

    def _move(self, move: Move) -> int:
        if move not in self._moves:
            self._moves.append(move)
        if len(self._moves) > MOVES:
            raise ValueError(f"{self.space.name}: more than {MOVES} combinations of strides and dilations")
        return self._moves.index(move)

    def _walk(self, genomes: ArrayLike) -> np.ndarray:
        """(layers, n) numbers of the units that stand at each position; 0 where a layer is absent."""
        genomes = np.asarray(genomes)
        counts = self.space.option_counts
        if (
            genomes.ndim != 2
            or genomes.shape[1] != len(counts)
            or not (np.issubdtype(genomes.dtype, np.integer) or genomes.size == 0)
        ):
            raise ValueError(
                f"{self.space.name}: expected whole numbers of shape (n, {len(counts)}), got {genomes.dtype} {genomes.shape}"
            )
        genomes = genomes.astype(np.int64)
        wrong = (genomes < 0) | (genomes >= counts)
        if wrong.any():
            self.space.canonical(genomes[wrong.any(axis=1).argmax()].tolist())
        self._warm_up()
        if self._last[0] != (asked := (len(genomes), genomes.tobytes())):
            self._last = asked, *self._rows(genomes)
            self._last[1].flags.writeable = False
        return self._last[1]

    def _rows(self, genomes: np.ndarray) -> tuple[np.ndarray, TapWalk | None]:
        n, stages = len(genomes), len(self.space.stages)
        there = self._conditions(genomes)
        skeleton = self._skeleton_memo.column(self._skeleton.keys(genomes, there))
        plan = np.array(self._skeletons, np.int64).reshape(-1, 3 + 2 * stages)[skeleton]
        rows = np.zeros((len(self._slots), n), np.int64)
        rows[0] = plan[:, 0]
        shape, strides = self._units.tables().out[rows[0]], np.array([stride for stride, _ in self._moves])
        walk = TapWalk(plan[:, 1], plan[:, 2]) if self._units.tapped else None
        for k, ((group, layer), (part, memo)) in enumerate(zip(self._slots[1:], self._parts, strict=True), 1):
            own = part.keys(genomes, there)
            if group > stages:
                move, shape = 0, self._numbers(walk, shape, part, own) if walk else shape
            else:
                move = plan[:, 2 + group + (stages if layer else 0)]
            keys = (own * MOVES + move) * SHAPES + shape
            at = self._present(genomes, group, layer)
            rows[k, at] = memo.column(keys[at])
            if walk and group <= stages and not layer:
                walk.stage(k, strides[move], shape, self._units.tables().expansion[rows[k]])
            shape[at] = self._units.tables().out[rows[k, at]]
        return rows, walk

    def _numbers(self, walk: TapWalk, shape: np.ndarray, part: Part, heads: np.ndarray) -> np.ndarray:
        """(n,) the number of what a head reads; `heads`: (n,) the keys of its part of the template."""
        walk.shape = shape
        rows, (_, head) = walk.rows(), np.unique(heads, return_inverse=True)
        groups, places = np.unique(np.column_stack([head, structure_of(rows)]), axis=0, return_inverse=True)
        for group in range(len(groups)):
            at = np.flatnonzero(places.ravel() == group)
            block = self.space.block(self.space.head, part.pick(int(heads[at[0]])))
            rows[at] = reduced(rows[at], self._units.reads(block, shapes_of(rows[at[0]].tolist(), self._units.shapes)))
        found, places = np.unique(rows, axis=0, return_inverse=True)
        numbers = [self._taps.setdefault(tuple(row), len(self._taps)) for row in found.tolist()]
        self._tap_rows = list(self._taps)
        return np.array(numbers, np.int64)[places.ravel()]

    def _present(self, genomes: np.ndarray, group: int, layer: int) -> np.ndarray | slice:
        """Which genomes have this layer."""
        repeat = self._repeats[group]
        if not isinstance(repeat, tuple):
            return slice(None) if repeat > layer else slice(0)
        gene, depths = repeat
        return slice(None) if depths.min() > layer else depths[genomes[:, gene]] > layer

    def _warm_up(self) -> None:
        rng = np.random.default_rng(0)
        while not self._warm:
            before = len(self._units)
            try:
                self._rows(rng.integers(self.space.option_counts, size=(CHUNK, len(self.space.genes))))
            except ValueError:
                self._warm = True  # some genomes cannot be built; asking for one raises
            self._warm |= len(self._units) - before < CHUNK // 16 or len(self._units) > WARM
