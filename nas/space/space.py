"""A space: genomes, and the template of an architecture that they fill, both ways."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.arch import SCALARS, Arch, Block, Stage, shown
from nas.arch.blocks import lower, make_divisible
from nas.space.genomes import Genomes
from nas.space.template import Genome, Hole, Pairs, Position, StageTemplate, holds


@dataclass(frozen=True)
class Space(Genomes):
    """A space read by `load_space`; `source` is the file's content as JSON.

    `io` is what `fit` set: (resolution, channels, classes), None where the file decides.
    """

    base: Arch
    resolution: Any
    stem: Pairs
    stages: tuple[StageTemplate, ...]
    head: Pairs
    divisor: int = 1
    source: str = ""
    io: tuple[int | None, int | None, int | None] = (None, None, None)

    def fit(self, resolution: int | None = None, channels: int | None = None, classes: int | None = None) -> Space:
        """The space for a dataset: every architecture it decodes goes through `Arch.with_io`."""
        return dataclasses.replace(self, io=(resolution, channels, classes))

    def to_dict(self) -> dict[str, Any]:
        """Plain data from which `space_from_plain` makes the same space in another process."""
        return {"name": self.name, "source": self.source, "divisor": self.divisor, "io": list(self.io)}

    def with_divisor(self, divisor: int) -> Space:
        return dataclasses.replace(self, divisor=divisor)

    @property
    def fingerprint(self) -> str:
        """Hash of the file's content and of everything that changes what genomes mean."""
        return hashlib.sha256(json.dumps([self.source, self.divisor, self.io]).encode()).hexdigest()[:12]

    def decode(self, genome: Sequence[int]) -> Arch:
        """The architecture that a genome stands for, fitted to the dataset that `fit` set."""
        on = self.active(genome)

        def fill(value: Any) -> Any:
            return self.genes[value.gene].options[genome[value.gene]] if isinstance(value, Hole) else value

        def pick(hole: Hole) -> int | None:
            return genome[hole.gene] if holds(hole.when, on, genome) else None

        stages = [
            Stage(
                tuple(self.block(layer, pick, in_stage=True) for layer in stage.layers[: fill(stage.repeat)]),
                fill(stage.stride),
            )
            for stage in self.stages
        ]
        arch = dataclasses.replace(
            self.base,
            resolution=fill(self.resolution),
            stem=self.block(self.stem, pick),
            stages=tuple(stages),
            head=self.block(self.head, pick),
        )
        return arch.with_io(*self.io)

    def block(self, pairs: Pairs, pick: Callable[[Hole], int | None], in_stage: bool = False) -> Block:
        """The block of a template; `pick` gives the option that stands in a hole, None where nothing does."""
        knobs: dict[str, Any] = {}
        for key, value in pairs:
            if isinstance(value, Hole):
                option = pick(value)
                if option is None:
                    continue
                value = self.genes[value.gene].options[option]
            knobs.update(value if key == "block" else {key: value})
        width = knobs.get("width")
        if in_stage and self.divisor > 1 and type(width) is int and width > 0:
            knobs["width"] = make_divisible(width, self.divisor)
        return Block.of(knobs.pop("op"), **knobs)

    def encode(self, arch: Arch) -> Genome:
        """The genome of an architecture. Raises ValueError naming the first place where it lies outside the space."""
        genome = [0] * len(self.genes)
        for i in self.order:
            found = self._option_of(i, arch, genome)
            genome[i] = 0 if found is None else found
        candidate = self.canonical(genome)
        ours = self.decode(candidate)
        theirs = arch.with_io(*self.io)
        if lower(ours).id != lower(theirs).id:
            raise ValueError(f"{arch.name}: not in the space {self.name}: {_first_difference(ours, theirs)}")
        if not self.allowed(candidate):
            raise ValueError(f"{arch.name}: the space {self.name} forbids this combination")
        return candidate

    def positions(self) -> tuple[Position, ...]:
        """Every layer of the template with the blocks that it can be: the base of switched training and of weight sharing."""
        out = []
        for i, stage in enumerate(self.stages):
            repeats = self.genes[stage.repeat.gene].options if isinstance(stage.repeat, Hole) else (stage.repeat,)
            for j, layer in enumerate(stage.layers):
                blocks = dict.fromkeys(self.blocks_of(layer))
                out.append(Position(i, j, tuple(blocks), optional=min(repeats) <= j))
        return tuple(out)

    def blocks_of(self, layer: Pairs) -> Iterator[Block]:
        """Every block that a layer of the template can be, once for each combination of its options."""
        genes = list(dict.fromkeys(h.gene for _, h in layer if isinstance(h, Hole)))
        for options in itertools.product(*(range(len(self.genes[g].options)) for g in genes)):
            values = dict(zip(genes, options, strict=True))

            def pick(hole: Hole, values: Mapping[int, int] = values) -> int | None:
                there = all(g not in values or values[g] in allowed for g, allowed in hole.when)
                return values[hole.gene] if there else None

            yield self.block(layer, pick, in_stage=True)

    def _option_of(self, gene: int, arch: Arch, genome: Sequence[int]) -> int | None:
        on = self.active(genome)
        for key, value, hole in self._places(gene, arch):
            if not holds(hole.when, on, genome):
                continue
            options = self.genes[gene].options
            fitting = [i for i, option in enumerate(options) if _fits(key, option, value, self.divisor)]
            if fitting:  # of blocks that fit, the one that says most
                return max(fitting, key=lambda i: len(options[i]) if key == "block" else 0)
        return None

    def _places(self, gene: int, arch: Arch) -> Iterator[tuple[str, Any, Hole]]:
        """(key, the architecture's value, hole) wherever the gene stands."""

        def of(key: str, hole: Any, value: Any) -> Iterator[tuple[str, Any, Hole]]:
            if isinstance(hole, Hole) and hole.gene == gene:
                yield key, value, hole

        yield from of("resolution", self.resolution, arch.resolution)
        for pairs, block in ((self.stem, arch.stem), (self.head, arch.head)):
            for key, hole in pairs:
                yield from of(key, hole, _value(block, key))
        for stage, ours in zip(self.stages, arch.stages, strict=False):
            yield from of("repeat", stage.repeat, ours.repeat)
            yield from of("stride", stage.stride, ours.stride)
            for layer, block in zip(stage.layers, ours.layers, strict=False):
                for key, hole in layer:
                    yield from of(key, hole, _value(block, key))


def _value(block: Block, key: str) -> Any:
    return block.to_dict() if key == "block" else block.op if key == "op" else block.get(key)


def _fits(key: str, option: Any, value: Any, divisor: int) -> bool:
    if key == "block":
        return all(value.get(k) == v for k, v in option.items())
    return option == value or (key == "width" and divisor > 1 and make_divisible(option, divisor) == value)


def _first_difference(ours: Arch, theirs: Arch) -> str:
    if len(ours.stages) != len(theirs.stages):
        return f"it has {len(theirs.stages)} stages, the space {len(ours.stages)}"
    for name in ("resolution", "stem", "head", *SCALARS):
        if getattr(ours, name) != getattr(theirs, name):
            return f"{name} is {shown(getattr(theirs, name))}"
    for i, (a, b) in enumerate(zip(ours.stages, theirs.stages, strict=True)):
        if a != b:
            diff = {k: v for k, v in b.to_dict().items() if a.to_dict().get(k) != v}
            return f"stages[{i}] has {', '.join(f'{k}: {v}' for k, v in diff.items()) or 'fewer knobs'}"
    return "its layers differ"
