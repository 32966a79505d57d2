"""From a genome to an architecture: the template of a space, and what fills its holes."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nas.arch import Arch, Block, Knob, Knobs, Stage
from nas.arch.blocks import make_divisible
from nas.space.genomes import Genomes
from nas.space.template import Hole, Pairs, Position, StageTemplate, holds


@dataclass(frozen=True)
class Template(Genomes):
    """An architecture whose holes the genes fill. `Space` adds the way back and the forms on disk.

    Attributes:
        base: everything without choices; its stem, stages and head are placeholders.
        divisor: widths within stages are rounded to its multiples; 1: not at all.
        source: the file's content as JSON.
        io: what `Space.fit` set: (resolution, channels, classes), None where the file decides.
        fitted: knobs of the head that `Space.fit` set, in place of `auto`.
    """

    base: Arch
    resolution: Knob | Hole
    stem: Pairs
    stages: tuple[StageTemplate, ...]
    head: Pairs
    divisor: int = 1
    source: str = ""
    io: tuple[int | None, int | None, int | None] = (None, None, None)
    fitted: Knobs = ()

    def decode(self, genome: Sequence[int]) -> Arch:
        """The architecture that a genome stands for, fitted to the dataset that `fit` set."""
        on = self.active(genome)

        def fill(value: Knob | Hole) -> Knob:
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
        knobs: dict[str, Knob] = {}
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

    def positions(self) -> tuple[Position, ...]:
        """Every layer of the template with the blocks that it can be: the base of switched training and of weight sharing."""
        out: list[Position] = []
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
