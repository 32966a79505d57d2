"""Per-layer numbers of many genomes at once: each position of the template looks only at the genes that matter there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from nas.arch import Arch, Block
from nas.layers import Shape
from nas.space import Hole, Space

LayerMs = Callable[[Arch, str, Block, int, Shape], tuple[float, Shape]]


class GenomeWalk:
    """Walks a space's template with `layer(arch, scope, block, stride, shape) -> (ms, output shape)`, memoised by genes.

    Called with (n, genes) options it yields (n,) milliseconds of stem, every layer and head, in the order data meets them;
    a layer that a genome does not have takes 0. Inactive genes may hold anything.
    """

    def __init__(self, space: Space, layer: LayerMs):
        self.space, self.layer = space, layer
        self._shapes: list[Shape] = []
        self._shape_ids: dict[Shape, int] = {}
        self._memo: list[dict[int, tuple[float, int]]] = []
        skeleton = self._closure([space.resolution, *(s.stride for s in space.stages), *(v for _, v in space.stem)])
        self._positions = [("stem", -1, 0, skeleton)]
        for i, stage in enumerate(space.stages):
            for j, pairs in enumerate(stage.layers):
                genes = self._closure([value for _, value in pairs])
                # The strides that survive at a small resolution depend on all the others.
                self._positions.append((f"stages.{i}.{j}", i, j, sorted({*genes, *skeleton}) if j == 0 else genes))
        self._positions.append(("head", -1, 0, self._closure([value for _, value in space.head])))
        self._memo = [{} for _ in self._positions]

    def __call__(self, genomes: Any) -> Iterator[np.ndarray]:
        checked = self._checked(genomes)
        shape = np.zeros(len(checked), np.int64)
        for k, (scope, stage, layer, genes) in enumerate(self._positions):
            at = np.flatnonzero(self._present(checked, stage, layer))
            ms = np.zeros(len(checked))
            if len(at):
                ms[at], shape[at] = self._column(k, scope, genes, checked[at], shape[at])
            yield ms

    def _column(
        self, k: int, scope: str, genes: Sequence[int], genomes: np.ndarray, shape: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        counts = self.space.option_counts
        key = shape.astype(object) if self._wide(genes) else shape.copy()
        for gene in genes:
            key = key * int(counts[gene]) + genomes[:, gene]
        keys, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        memo = self._memo[k]
        for value, row in zip(keys.tolist(), first.tolist(), strict=True):
            if value not in memo:
                memo[value] = self._fill(scope, genomes[row], int(shape[row]))
        found = [memo[value] for value in keys.tolist()]
        return np.array([ms for ms, _ in found])[inverse], np.array([out for _, out in found])[inverse]

    def _fill(self, scope: str, genome: np.ndarray, shape: int) -> tuple[float, int]:
        arch = self.space.decode(genome.tolist())
        if scope == "stem":
            given: Shape = (arch.resolution, arch.resolution, arch.channels)
        else:
            given = self._shapes[shape]
        block, stride = next((block, stride) for name, block, stride in arch.layers() if name == scope)
        ms, out = self.layer(arch, scope, block, stride, given)
        if out not in self._shape_ids:
            self._shape_ids[out] = len(self._shapes)
            self._shapes.append(out)
        return ms, self._shape_ids[out]

    def _present(self, genomes: np.ndarray, stage: int, layer: int) -> np.ndarray:
        repeat = self.space.stages[stage].repeat if stage >= 0 else 1
        if not isinstance(repeat, Hole):
            return np.full(len(genomes), repeat > layer)
        return np.array(self.space.genes[repeat.gene].options)[genomes[:, repeat.gene]] > layer

    def _closure(self, values: Sequence[Any]) -> list[int]:
        """Genes that decide what stands in these places: those of the holes, and those of all their conditions."""
        todo = [g for hole in values if isinstance(hole, Hole) for g in (hole.gene, *(g for g, _ in hole.when))]
        found: set[int] = set()
        while todo:
            gene = todo.pop()
            if gene not in found:
                found.add(gene)
                todo += [g for when in self.space.genes[gene].when for g, _ in when]
        return sorted(found)

    def _wide(self, genes: Sequence[int]) -> bool:
        """Whether a key overflows 64 bits, so that Python's own integers are needed."""
        size = 1 << 20
        for gene in genes:
            size *= int(self.space.option_counts[gene])
        return size >= 1 << 62

    def _checked(self, genomes: Any) -> np.ndarray:
        checked, counts = np.asarray(genomes), self.space.option_counts
        whole = np.issubdtype(checked.dtype, np.integer) or checked.size == 0
        if checked.ndim != 2 or checked.shape[1] != len(counts) or not whole:
            wanted = f"whole numbers of shape (n, {len(counts)})"
            raise ValueError(f"{self.space.name}: genomes: wanted {wanted}, got {checked.dtype} {checked.shape}")
        checked = checked.astype(np.int64)
        wrong = ((checked < 0) | (checked >= counts)).any(axis=1)
        if wrong.any():
            self.space.canonical(checked[wrong.argmax()].tolist())
        return checked
