"""Exact costs of many genomes at once.

A layer's cost follows from its block, its stride and the shape that feeds it, so each such triple is lowered once; a genome
is then a walk along the template, one table lookup a layer, done for all genomes together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from nas.arch import Block, Knob, Stage
from nas.arch.blocks import lower_alone
from nas.arch.graph import Graph, Node, Shape, node_macs
from nas.cost.count import alive_bytes, node_params, product
from nas.cost.features import FEATURES, feature_row
from nas.space import Hole, Pairs, Rule, Space

METRICS = ("params", "macs", "memory_bytes")
SHAPES = 1 << 20  # most different shapes: a key packs the number of one
STRIDES = 17
WARM, CHUNK = 12_000, 256
LARGEST = 2**53


@dataclass(frozen=True)
class _Unit:
    """One layer fed with one shape: the number of its output shape, its costs and features."""

    out: int
    costs: tuple[int, int, int]
    features: tuple[int, ...]


class _Memo(dict[int, int]):
    """A dict that fills itself, so that a column of keys is looked up at the speed of `map`."""

    def __init__(self, fill: Callable[[int], int]):
        super().__init__()
        self.fill = fill

    def __missing__(self, key: int) -> int:
        value = self[key] = self.fill(key)
        return value

    def column(self, keys: np.ndarray) -> np.ndarray:
        return np.fromiter(map(self.__getitem__, keys.tolist()), np.int64, len(keys))


class _Part:
    """A part of the template as a number: the options of its holes (0 where absent) in mixed radix."""

    def __init__(self, space: Space, holes: Sequence[Knob | Hole]):
        self.holes = tuple(dict.fromkeys(hole for hole in holes if isinstance(hole, Hole)))
        self.radix = [len(space.genes[hole.gene].options) + 1 for hole in self.holes]
        # Python's own integers where 64 bits do not hold the key.
        self.dtype = np.int64 if product(self.radix) < 1 << 38 else object

    def keys(self, genomes: np.ndarray, there: Mapping[Rule, np.ndarray]) -> np.ndarray:
        out = np.zeros(len(genomes), self.dtype)
        for hole, radix in zip(self.holes, self.radix, strict=True):
            option = genomes[:, hole.gene] + 1
            out = out * radix + (option * there[hole.when] if hole.when else option)
        return out

    def pick(self, key: int) -> Callable[[Hole], int | None]:
        """What stands in each hole: the number of an option, None where nothing does."""
        options: dict[Hole, int | None] = {}
        for hole, radix in zip(reversed(self.holes), reversed(self.radix), strict=True):
            key, option = divmod(key, radix)
            options[hole] = option - 1 if option else None
        return options.__getitem__


class _Conditions:
    """Where each set of conditions of a template's holes holds, for all genomes at once."""

    def __init__(self, space: Space, used: Sequence[Rule]):
        self.arrays, self.used = space.arrays, used
        self.rules = space.arrays.rules(used)

    def __call__(self, genomes: np.ndarray) -> dict[Rule, np.ndarray]:
        columns = np.ascontiguousarray(genomes.T)
        return dict(zip(self.used, self.rules(columns, self.arrays.active_columns(columns)), strict=True))


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
        self._base = space.base.with_io(None, *space.io[1:])
        self._units: list[_Unit] = [_Unit(0, (0, 0, 0), (0,) * len(FEATURES))]
        self._known: dict[tuple[str, Block, int, Shape], int] = {}
        self._keys: list[tuple[str, Block, int, Shape]] = []
        self._graphs: dict[int, Graph] = {}
        self._shapes: list[Shape] = []
        self._shape_ids: dict[Shape, int] = {}
        self._arrays: tuple[np.ndarray, np.ndarray, np.ndarray] = (
            np.zeros(0, np.int64),
            np.zeros((0, 3), np.int64),
            np.zeros((0, len(FEATURES)), np.int64),
        )
        self._skeletons: list[tuple[int, ...]] = []
        self._warm = False
        # Costs and features of the same genomes are asked for in turn.
        self._last: tuple[tuple[int, bytes] | None, np.ndarray] = None, np.zeros((0, 0), np.int64)
        self._plan()

    def __call__(self, genomes: ArrayLike) -> dict[str, np.ndarray]:
        """(n, genes) options -> {"params": (n,), "macs": (n,), "memory_bytes": (n,)} of int64."""
        rows, tables = self._walk(genomes), self._tables()
        out = np.zeros((3, rows.shape[1]), np.int64)
        for row in rows:
            counted = tables[1][row]
            out[0] += counted[:, 0]
            out[1] += counted[:, 1]
            np.maximum(out[2], counted[:, 2], out=out[2])
        return dict(zip(METRICS, out, strict=True))

    def features(self, genomes: ArrayLike) -> np.ndarray:
        """(n, genes) options -> (n, f) int64: `FEATURES` summed over stem, each stage and head; `feature_names` names them."""
        rows, tables = self._walk(genomes), self._tables()
        out = np.zeros((rows.shape[1], len(self.groups), len(FEATURES)), np.int64)
        for (group, _), row in zip(self._slots, rows, strict=True):
            out[:, group] += tables[2][row]
        return out.reshape(rows.shape[1], -1)

    def layers(self, genomes: ArrayLike) -> np.ndarray:
        """(n, genes) options -> (positions, n) numbers of the layers that stand at each position, 0 where there is none.

        A number means one block fed with one shape, for as long as this object lives; `layer_graph` gives its network.
        `position_groups` says which of `groups` a position belongs to.
        """
        return self._walk(genomes).copy()

    def layer_graph(self, number: int) -> Graph:
        """The layer with that number as a network of its own: its input node alone for 0 and for an identity."""
        if number not in self._graphs:
            nodes, outputs = self._nodes(*self._keys[number - 1]) if number else ([Node("input", "input", (), (1, 1, 1))], {})
            self._graphs[number] = Graph(tuple(nodes), named=tuple(outputs.items()) if len(outputs) > 1 else ())
        return self._graphs[number]

    @property
    def position_groups(self) -> tuple[int, ...]:
        return tuple(group for group, _ in self._slots)

    def _plan(self) -> None:
        """The parts of the template in the order data meets them, each with its memo."""
        space = self.space
        always = [Hole(h.gene) for h in (space.resolution, *(s.stride for s in space.stages)) if isinstance(h, Hole)]
        self._skeleton = _Part(space, [*always, *(value for _, value in space.stem)])
        self._skeleton_memo = _Memo(self._fill_skeleton)
        self._slots: list[tuple[int, int]] = [(0, 0)]
        self._parts: list[tuple[_Part, _Memo]] = []
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
        self._conditions = _Conditions(space, list(dict.fromkeys(when for when in used if when)))

    def _part(self, pairs: Pairs, stage: int | None) -> tuple[_Part, _Memo]:
        part = _Part(self.space, [value for _, value in pairs])

        def fill(key: int) -> int:
            key, shape = divmod(key, SHAPES)
            key, stride = divmod(key, STRIDES)
            block = self.space.block(pairs, part.pick(key), in_stage=stage is not None)
            return self._unit("head" if stage is None else f"stages[{stage}]", block, stride, self._shapes[shape])

        return part, _Memo(fill)

    def _fill_skeleton(self, key: int) -> int:
        """Lowers the stem; notes its unit and the strides of the stages, fitted to the dataset."""
        space, pick = self.space, self._skeleton.pick(key)

        def fill(value: Knob | Hole) -> Knob:
            return space.genes[value.gene].options[pick(Hole(value.gene)) or 0] if isinstance(value, Hole) else value

        stages = tuple(Stage((Block("identity"),), fill(stage.stride)) for stage in space.stages)
        stem = space.block(space.stem, pick)
        arch = dataclasses.replace(space.base, resolution=fill(space.resolution), stem=stem, stages=stages)
        arch = arch.with_io(*space.io)
        strides = arch.strides()
        unit = self._unit("stem", arch.stem, strides[0], (arch.resolution, arch.resolution, arch.channels))
        self._skeletons.append((unit, *strides[1:]))
        return len(self._skeletons) - 1

    def _unit(self, where: str, block: Block, stride: int, shape: Shape) -> int:
        kind = where if where in ("stem", "head") else "layer"
        key = (kind, block, stride, shape)
        if key not in self._known:
            unit = self._lowered(where, block, stride, shape)
            self._known[key] = len(self._units)
            self._keys.append((where, block, stride, shape))
            self._units.append(unit)
        return self._known[key]

    def _lowered(self, where: str, block: Block, stride: int, shape: Shape) -> _Unit:
        nodes, outputs = self._nodes(where, block, stride, shape)
        given = [[nodes[j].shape for j in node.inputs] for node in nodes]
        params = sum(map(node_params, nodes, given))
        macs = sum(map(node_macs, nodes, given))
        peak = max(alive_bytes(nodes, outputs.values())[1:], default=0)
        features = feature_row(nodes)
        if max(params, macs, peak, *features) > LARGEST:
            raise ValueError(f"{self.space.name}: {where}: costs over {LARGEST:.0e} are not counted")
        return _Unit(self._shape_id(nodes[max(outputs.values())].shape), (params, macs, peak), tuple(features))

    def _nodes(self, where: str, block: Block, stride: int, shape: Shape) -> tuple[Sequence[Node], Mapping[str, int]]:
        """The primitives of one layer, its input first, and which of them are its outputs, by name."""
        scope = "head" if where == "head" else "stem"  # names are not read
        return lower_alone(self._base, scope, block, stride, shape, f"{self.space.name}: {where}")

    def _shape_id(self, shape: Shape) -> int:
        if shape not in self._shape_ids:
            self._shape_ids[shape] = len(self._shapes)
            self._shapes.append(shape)
        return self._shape_ids[shape]

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
            self._last = asked, self._rows(genomes)
            self._last[1].flags.writeable = False
        return self._last[1]

    def _rows(self, genomes: np.ndarray) -> np.ndarray:
        n = len(genomes)
        there = self._conditions(genomes)
        skeleton = self._skeleton_memo.column(self._skeleton.keys(genomes, there))
        plan = np.array(self._skeletons, np.int64).reshape(-1, len(self.space.stages) + 1)[skeleton]
        rows = np.zeros((len(self._slots), n), np.int64)
        rows[0] = plan[:, 0]
        shape = self._tables()[0][rows[0]]
        for k, ((group, layer), (part, memo)) in enumerate(zip(self._slots[1:], self._parts, strict=True), 1):
            stride = plan[:, group] if layer == 0 and group < len(self.groups) - 1 else 1
            keys = (part.keys(genomes, there) * STRIDES + stride) * SHAPES + shape
            at = self._present(genomes, group, layer)
            rows[k, at] = memo.column(keys[at])
            shape[at] = self._tables()[0][rows[k, at]]
        return rows

    def _present(self, genomes: np.ndarray, group: int, layer: int) -> np.ndarray | slice:
        """Which genomes have this layer."""
        repeat = self._repeats[group]
        if not isinstance(repeat, tuple):
            return slice(None) if repeat > layer else slice(0)
        gene, depths = repeat
        return slice(None) if depths.min() > layer else depths[genomes[:, gene]] > layer

    def _tables(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Output shapes (units,), costs (units, 3) and features (units, f), grown by what was lowered since."""
        known = len(self._arrays[0])
        if known < len(self._units):
            new = self._units[known:]
            grown = [[u.out for u in new], [u.costs for u in new], [u.features for u in new]]
            pairs = zip(self._arrays, grown, strict=True)
            shapes, costs, features = (np.concatenate([old, np.array(rows, np.int64)]) for old, rows in pairs)
            self._arrays = shapes, costs, features
        return self._arrays

    def _warm_up(self) -> None:
        rng = np.random.default_rng(0)
        while not self._warm:
            before = len(self._units)
            try:
                self._rows(rng.integers(self.space.option_counts, size=(CHUNK, len(self.space.genes))))
            except ValueError:
                self._warm = True  # some genomes cannot be built; asking for one raises
            self._warm |= len(self._units) - before < CHUNK // 16 or len(self._units) > WARM
