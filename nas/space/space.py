"""A space: genomes and architectures, both ways, and its forms on disk and between processes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NotRequired, TypedDict

from nas.arch import AUTO, SCALARS, Arch, Block, Knob, shown
from nas.arch.blocks import BlockFn, lower, make_divisible, register_block
from nas.core.jsonio import parse_json
from nas.space.checking import check
from nas.space.decoding import Template
from nas.space.reading import read_template
from nas.space.template import Genome, Hole, holds


class PlainSpace(TypedDict):
    """A space as plain data, from which another process makes it again."""

    name: str
    source: str
    divisor: int
    io: list[int | None]
    blocks: list[list[str]]
    head: NotRequired[dict[str, Any]]


@dataclass(frozen=True, repr=False)
class Space(Template):
    """A search space: the genomes of its choices, and the architectures that they decode to.

    `blocks` holds the identities of the blocks that came as functions: (op, qualified name, version).
    """

    blocks: tuple[tuple[str, str, str], ...] = ()

    @classmethod
    def from_dict(
        cls,
        data: Mapping[str, object],
        name: str = "space",
        blocks: Mapping[str, BlockFn] | None = None,
        version: str = "",
    ) -> Space:
        """Reads a space, in the form of the files in `search_spaces/`.

        Args:
            data: resolution, stem, stages and head, with `{one_of: [..]}` wherever there is a choice.
            name: opens the messages of errors, and names the space where `data` has no name.
            blocks: functions of further blocks by the `op` under which `data` uses them. They are known to this process
                alone: other processes and exports need them in a module that `plugins=` names.
            version: part of the identity of `blocks`; change it when their code changes.

        Raises:
            ValueError: one line that names the place, for anything that could not be decoded later.

        Example:
            >>> space = Space.from_dict({
            ...     "resolution": 32,
            ...     "stem": {"op": "conv", "width": 8, "stride": 2},
            ...     "stages": [{"op": "mbconv", "width": 16, "expand": 3, "kernel": {"one_of": [3, 5, 7]}}],
            ...     "head": {"op": "classifier"},
            ... })
            >>> space.size
            3
        """
        identities = [register_block(op, function, version) for op, function in (blocks or {}).items()]
        template = read_template(data, name)
        fields: dict[str, Any] = {field.name: getattr(template, field.name) for field in dataclasses.fields(template)}
        space = cls(**fields, blocks=tuple(identities))
        check(space, name)
        return space

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Space:
        """The space that `to_plain` described."""
        space = cls.from_dict(parse_json(data["source"]), data["name"])
        blocks = tuple((op, function, version) for op, function, version in data["blocks"])
        fitted = space.with_divisor(data["divisor"]).fit(*data["io"], head=data.get("head", {}))
        return dataclasses.replace(fitted, blocks=blocks)

    def to_plain(self) -> PlainSpace:
        """Plain data from which `from_plain` makes the same space in another process."""
        plain: PlainSpace = {
            "name": self.name,
            "source": self.source,
            "divisor": self.divisor,
            "io": list(self.io),
            "blocks": [list(identity) for identity in self.blocks],
        }
        return {**plain, "head": dict(self.fitted)} if self.fitted else plain

    def __repr__(self) -> str:
        return f"Space({self.name!r}, {len(self.genes)} genes)"

    def fit(
        self, resolution: int | None = None, channels: int | None = None, classes: int | None = None,
        head: Mapping[str, Knob] = MappingProxyType({}),
    ) -> Space:  # fmt: skip
        """The space for a dataset: every architecture it decodes goes through `Arch.with_io`.

        `head`: values of knobs of the head that the file leaves to the data, `auto`.
        """
        ours = dict(Block.of("", **head).knobs)
        pairs = tuple((key, ours.get(key, value) if value == AUTO else value) for key, value in self.head)
        return dataclasses.replace(self, io=(resolution, channels, classes), head=pairs, fitted=(*self.fitted, *ours.items()))

    def with_divisor(self, divisor: int) -> Space:
        """The space with widths within stages rounded to multiples of `divisor`."""
        return dataclasses.replace(self, divisor=divisor)

    @property
    def fingerprint(self) -> str:
        """Hash of the file's content and of everything else that changes what genomes mean."""
        parts = [self.source, self.divisor, self.io, *([self.blocks] if self.blocks else []), *([self.fitted] if self.fitted else [])]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

    def encode(self, arch: Arch) -> Genome:
        """The genome of an architecture. Raises ValueError naming the first place where it lies outside the space."""
        genome = [0] * len(self.genes)
        for i in self.order:
            found = self._option_of(i, arch, genome)
            genome[i] = 0 if found is None else found
        candidate = self.canonical(genome)
        ours = self.decode(candidate)
        theirs = arch.with_io(*self.io).with_head(dict(self.fitted))
        if lower(ours).id != lower(theirs).id:
            raise ValueError(f"{arch.name}: not in the space {self.name}: {_first_difference(ours, theirs)}")
        if not self.allowed(candidate):
            raise ValueError(f"{arch.name}: the space {self.name} forbids this combination")
        return candidate

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

    def _places(self, gene: int, arch: Arch) -> Iterator[tuple[str, Knob, Hole]]:
        """(key, the architecture's value, hole) wherever the gene stands."""

        def of(key: str, hole: Knob | Hole, value: Knob) -> Iterator[tuple[str, Knob, Hole]]:
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


def _value(block: Block, key: str) -> Knob:
    return block.to_dict() if key == "block" else block.op if key == "op" else block.get(key)


def _fits(key: str, option: Knob, value: Knob, divisor: int) -> bool:
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
