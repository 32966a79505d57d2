"""A search space: an architecture with choices in it, and the genomes that pick among them.

Wherever an architecture's file has a value, a space may have a choice:

    kernel: {one_of: [3, 5]}                                one gene for the stage
    kernel: {one_of: [3, 5], per: layer}                    a gene for every layer of the stage
    kernel: {one_of: {name: k, of: [3, 5]}}                 the name ties: used twice it is one gene
    expand: {one_of: [3, 6], when: {op: mbconv}}            a gene only where another has that value
    block: {one_of: [{op: identity}, {op: mbconv, ..}]}     whole blocks
    forbid: [{stages[1].repeat: 3, k: 5}]                   combinations that do not exist

A gene's name is its place (`stages[1].repeat`, `stages[1].layers[0].kernel`) or the name given. `when` knows a gene by its
name or, within a stage, by its key. The key of an inactive choice is absent, so that the block's own default holds.
A genome is a tuple with one option index a gene; inactive genes are 0 in its canonical form, the only one handed out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nas.arch import MAX_LAYERS, SCALARS, Arch, Block, Stage, arch_from_dict, is_word, known_keys, mapping, shown, whole
from nas.blocks import HEADS, lower, make_divisible, resolve
from nas.paths import SPACES
from nas.settings import nearest
from nas.yamlio import read_yaml

Genome = tuple[int, ...]
Pairs = Sequence[tuple[str, Any]]
MAX_OPTIONS, MAX_GENES = 1000, 2000
TRIES, VISITS, DEEPEST = 1000, 50_000, 400  # visits: genes looked at before giving up; deepest: of a recursion


@dataclass(frozen=True)
class Gene:
    """One choice. It is active where any of `when` holds; each is a set of (gene, allowed options), all of which must hold."""

    name: str
    options: tuple[Any, ...]
    when: tuple[tuple[tuple[int, frozenset[int]], ...], ...] = ((),)


@dataclass(frozen=True)
class Hole:
    """A place in the template that a gene fills, under conditions of its own."""

    gene: int
    when: tuple[tuple[int, frozenset[int]], ...] = ()


@dataclass(frozen=True)
class StageTemplate:
    """Layers as (key, value or Hole) pairs; layer j exists where `repeat` says more than j."""

    stride: Any
    repeat: Any
    layers: tuple[tuple[tuple[str, Any], ...], ...]


@dataclass(frozen=True)
class Slot:
    """A position of the network: every block that can stand there, and whether the layer can be absent."""

    stage: int
    layer: int
    blocks: tuple[Block, ...]
    optional: bool


@dataclass(frozen=True)
class Space:
    """A space read by `load_space`; `source` is the file's content as JSON.

    `io` is what `fit` set: (resolution, channels, classes), None where the file decides.
    """

    name: str
    genes: tuple[Gene, ...]
    base: Arch
    resolution: Any
    stem: tuple[tuple[str, Any], ...]
    stages: tuple[StageTemplate, ...]
    head: tuple[tuple[str, Any], ...]
    forbid: tuple[tuple[tuple[int, frozenset[int]], ...], ...] = ()
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

    @cached_property
    def option_counts(self) -> np.ndarray:
        """(genes,) number of options of each gene."""
        return np.array([len(gene.options) for gene in self.genes], np.int64)

    def active(self, genome: Sequence[int]) -> list[bool]:
        """Which genes matter in this genome."""
        on = [False] * len(self.genes)
        for i in self.order:
            on[i] = any(all(on[g] and genome[g] in allowed for g, allowed in when) for when in self.genes[i].when)
        return on

    def canonical(self, genome: Sequence[int]) -> Genome:
        """The genome with inactive genes set to 0. Raises ValueError where it is no genome of this space."""
        if len(genome) != len(self.genes):
            raise ValueError(f"{self.name}: a genome has {len(self.genes)} genes, got {len(genome)}")
        for gene, option in zip(self.genes, genome, strict=True):
            if not 0 <= option < len(gene.options):
                raise ValueError(
                    f"{self.name}: gene {gene.name} has options 0 to {len(gene.options) - 1}, got {option}"
                )
        return tuple(int(v) if on else 0 for v, on in zip(genome, self.active(genome), strict=True))

    def allowed(self, genome: Sequence[int]) -> bool:
        """Whether no forbidden combination stands in it."""
        if not self.forbid:
            return True
        on = self.active(genome)
        return not any(all(on[g] and genome[g] in options for g, options in rule) for rule in self.forbid)

    def sample(self, rng: np.random.Generator) -> Genome:
        """A genome, every option of every gene equally likely. Raises ValueError where `forbid` leaves nothing to be found."""
        tries = min(TRIES, 1 + VISITS // max(len(self.genes), 1))
        for _ in range(tries):
            genome = self.canonical(rng.integers(self.option_counts).tolist())
            if self.allowed(genome):
                return genome
        if len(self.genes) <= DEEPEST:
            for genome in self.enumerate(tries):
                return genome
        raise ValueError(f"{self.name}: forbid leaves no architecture that {tries} samples could find")

    def mutate(self, genome: Sequence[int], rng: np.random.Generator, genes: int = 1) -> Genome:
        """A genome with `genes` active genes changed; the same one where nothing can change."""
        for _ in range(TRIES):
            child = tuple(genome)
            for _ in range(genes):
                open_genes = [i for i, on in enumerate(self.active(child)) if on and len(self.genes[i].options) > 1]
                if not open_genes:
                    return self.canonical(genome)
                i = open_genes[rng.integers(len(open_genes))]
                option = int(rng.integers(len(self.genes[i].options) - 1))
                child = self.canonical((*child[:i], option + (option >= child[i]), *child[i + 1 :]))
            if self.allowed(child):
                return child
        return self.canonical(genome)

    def cross(self, a: Sequence[int], b: Sequence[int], rng: np.random.Generator) -> Genome:
        """Uniform crossover; one of the parents where no allowed child is found."""
        for _ in range(TRIES):
            pick = rng.integers(2, size=len(self.genes))
            child = self.canonical([y if p else x for x, y, p in zip(a, b, pick, strict=True)])
            if self.allowed(child):
                return child
        return self.canonical(a)

    def neighbours(self, genome: Sequence[int]) -> Iterator[Genome]:
        """Every allowed genome that differs in the option of one active gene."""
        for i, on in enumerate(self.active(genome)):
            for option in range(len(self.genes[i].options)) if on else ():
                if option != genome[i]:
                    child = self.canonical((*genome[:i], option, *genome[i + 1 :]))
                    if self.allowed(child):
                        yield child

    def enumerate(self, tries: int | None = None) -> Iterator[Genome]:
        """Every allowed canonical genome, each once; of the first `tries` canonical ones where that is given."""
        order, tried = self.order, 0

        def extend(values: list[int], on: list[bool], k: int) -> Iterator[Genome]:
            nonlocal tried
            if tries is not None and tried >= tries:
                return
            if k == len(order):
                tried += 1
                if self.allowed(values):
                    yield tuple(values)
                return
            i = order[k]
            on[i] = any(all(on[g] and values[g] in allowed for g, allowed in when) for when in self.genes[i].when)
            for option in range(len(self.genes[i].options) if on[i] else 1):
                values[i] = option
                yield from extend(values, on, k + 1)
            values[i], on[i] = 0, False

        yield from extend([0] * len(order), [False] * len(order), 0)

    @cached_property
    def size(self) -> int:
        """Number of canonical genomes, exact; forbidden ones are taken off where at most a million are to be tried."""
        return _count(self)

    def decode(self, genome: Sequence[int]) -> Arch:
        """The architecture that a genome stands for, fitted to the dataset that `fit` set."""
        on = self.active(genome)

        def fill(value: Any) -> Any:
            return self.genes[value.gene].options[genome[value.gene]] if isinstance(value, Hole) else value

        def pick(hole: Hole) -> int | None:
            there = all(on[g] and genome[g] in allowed for g, allowed in hole.when)
            return genome[hole.gene] if there else None

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

    def slots(self) -> tuple[Slot, ...]:
        """Position by position, the blocks that can stand there: what one-program training and weight sharing build on."""
        out = []
        for i, stage in enumerate(self.stages):
            repeats = self.genes[stage.repeat.gene].options if isinstance(stage.repeat, Hole) else (stage.repeat,)
            for j, layer in enumerate(stage.layers):
                blocks = dict.fromkeys(self._blocks_of(layer))
                out.append(Slot(i, j, tuple(blocks), optional=min(repeats) <= j))
        return tuple(out)

    def _blocks_of(self, layer: Sequence[tuple[str, Any]]) -> Iterator[Block]:
        genes = list(dict.fromkeys(h.gene for _, h in layer if isinstance(h, Hole)))
        for options in itertools.product(*(range(len(self.genes[g].options)) for g in genes)):
            values = dict(zip(genes, options, strict=True))

            def pick(hole: Hole, values: Mapping[int, int] = values) -> int | None:
                there = all(g not in values or values[g] in allowed for g, allowed in hole.when)
                return values[hole.gene] if there else None

            yield self.block(layer, pick, in_stage=True)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Genes so that each comes after those its conditions name."""
        order: list[int] = []
        state = [0] * len(self.genes)

        def visit(i: int) -> None:
            if state[i] == 1:
                raise ValueError(f"{self.name}: the conditions of {self.genes[i].name} lead back to itself")
            if state[i] == 0:
                state[i] = 1
                for when in self.genes[i].when:
                    for g, _ in when:
                        visit(g)
                state[i] = 2
                order.append(i)

        for i in range(len(self.genes)):
            visit(i)
        return tuple(order)

    def _option_of(self, gene: int, arch: Arch, genome: Sequence[int]) -> int | None:
        on = self.active(genome)
        for key, value, hole in self._places(gene, arch):
            if not all(on[g] and genome[g] in allowed for g, allowed in hole.when):
                continue
            options = self.genes[gene].options
            fitting = [i for i, option in enumerate(options) if _same(key, option, value, self.divisor)]
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


def _same(key: str, option: Any, value: Any, divisor: int) -> bool:
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


def _count(space: Space) -> int:
    """Canonical genomes, counted part by part: genes that no condition connects multiply."""
    n = len(space.genes)
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    control = {g for rule in space.forbid for g, _ in rule}
    for i, gene in enumerate(space.genes):
        for when in gene.when:
            for g, _ in when:
                control.add(g)
                parent[root(i)] = root(g)
    for rule in space.forbid:
        for g, _ in rule:
            parent[root(g)] = root(rule[0][0])
    parts: dict[int, list[int]] = {}
    for i in space.order:
        parts.setdefault(root(i), []).append(i)
    return math.prod(_count_part(space, part, control) for part in parts.values())


def _count_part(space: Space, part: Sequence[int], control: set[int]) -> int:
    rules = [rule for rule in space.forbid if rule[0][0] in set(part)]
    ruled = [i for i in part if i in control]
    rest = [i for i in part if i not in control]
    values, on = [0] * len(space.genes), [False] * len(space.genes)

    def is_on(i: int) -> bool:
        return any(all(on[g] and values[g] in allowed for g, allowed in when) for when in space.genes[i].when)

    def count(k: int) -> int:
        if k == len(ruled):
            if any(all(on[g] and values[g] in options for g, options in rule) for rule in rules):
                return 0
            return math.prod(len(space.genes[i].options) for i in rest if is_on(i))
        i, total = ruled[k], 0
        on[i] = is_on(i)
        for option in range(len(space.genes[i].options) if on[i] else 1):
            values[i] = option
            total += count(k + 1)
        values[i], on[i] = 0, False
        return total

    return count(0)


def load_space(name: str, spaces: Path = SPACES) -> Space:
    """The space (or the architecture, a space of size one) of that name, or in that file."""
    path = find_file(name, spaces)
    return space_from_dict(
        read_yaml(path), str(path) if path.parent not in (spaces, spaces / "reference") else path.stem
    )


def load_arch(name: str, spaces: Path = SPACES) -> Arch:
    """A reference architecture by name, or one from a file. Raises ValueError for a space with choices in it."""
    path = find_file(name, spaces)
    data = mapping(read_yaml(path), str(path))
    if '"one_of":' in json.dumps(data, default=str):
        raise ValueError(f"{path}: a space with choices in it; wanted an architecture")
    arch = arch_from_dict({"name": path.stem, **{k: v for k, v in data.items() if k not in SPACE_ONLY}}, str(path))
    lower(arch, str(path))
    return arch


def find_file(name: str, spaces: Path = SPACES) -> Path:
    """Resolves a name among the spaces and reference architectures, or a path. Raises ValueError with the nearest name."""
    if not name or "\0" in name or len(name) > 4000:
        raise ValueError(f"{shown(name)}: no name of a space or file")
    known = space_names(spaces)
    if name in known:
        return known[name]
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or "/" in name:
        if path.is_dir():
            raise ValueError(f"{path}: a folder; name the YAML file in it")
        if path.is_file():
            return path
        raise ValueError(f"{path}: no such file")
    near = nearest(name, known)
    raise ValueError(
        f"unknown space or architecture {name!r}; "
        + (f"did you mean {near!r}?" if near else f"known: {', '.join(known)}")
    )


def space_names(spaces: Path = SPACES) -> dict[str, Path]:
    """Names of the spaces and reference architectures that come with nas, spaces first."""
    return {path.stem: path for folder in (spaces, spaces / "reference") for path in sorted(folder.glob("*.yaml"))}


def space_from_plain(data: Mapping[str, Any]) -> Space:
    """The space that `Space.to_dict` described."""
    space = space_from_dict(json.loads(data["source"]), data["name"])
    return space.with_divisor(data["divisor"]).fit(*data["io"])


SPACE_ONLY = ("forbid", "divisor")
TOP = ("name", "resolution", "defaults", "stem", "stages", "head", *SCALARS, *SPACE_ONLY)


def space_from_dict(data: Any, where: str) -> Space:
    """Reads a space. Raises ValueError naming the place for anything that could not be decoded later."""
    data = mapping(data, where)
    known_keys(data, TOP, where)
    for key in ("resolution", "stem", "stages", "head"):
        if key not in data:
            raise ValueError(f"{where}: misses the key {key}")
    return _Reader(where).read(data)


class _Reader:
    """Collects genes while walking the file; conditions are names until all genes are known."""

    def __init__(self, where: str):
        self.where = where
        self.names: dict[str, int] = {}
        self.options: list[tuple[Any, ...]] = []
        self.conditions: list[list[tuple[str, Mapping[str, Any]]]] = []
        self.layers = 0
        self.seen: dict[tuple[int, bool], tuple[Any, tuple[Any, ...]]] = {}

    def read(self, data: Mapping[str, Any]) -> Space:
        base = self.base(data)
        resolution = self.value(data["resolution"], "resolution", "", ())
        stem = self.block(data["stem"], "stem")
        if not isinstance(data["stages"], list) or not 1 <= len(data["stages"]) <= 100:
            raise ValueError(f"{self.where}: stages: wanted a list of 1 to 100 stages, got {shown(data['stages'])}")
        stages = [self.stage(stage, f"stages[{i}]") for i, stage in enumerate(data["stages"])]
        head = self.block(data["head"], "head")
        space = Space(
            name=base.name,
            genes=tuple(Gene(name, self.options[i], self.whens(i)) for name, i in self.names.items()),
            base=base,
            resolution=self.filled(resolution),
            stem=self.resolved(stem),
            stages=tuple(
                StageTemplate(
                    self.filled(s.stride), self.filled(s.repeat), tuple(self.resolved(layer) for layer in s.layers)
                )
                for s in stages
            ),
            head=self.resolved(head),
            forbid=self.forbid(data.get("forbid", [])),
            divisor=whole(data.get("divisor", 1), 1, 256, f"{self.where}: divisor"),
            source=json.dumps(data, default=str),
        )
        self.check(space)
        return space

    def base(self, data: Mapping[str, Any]) -> Arch:
        """Everything without choices, checked by the architecture's own reader."""
        plain = {k: data[k] for k in ("name", "defaults", *SCALARS) if k in data}
        skeleton = {
            "resolution": 32,
            "stem": {"op": "identity"},
            "stages": [{"op": "identity"}],
            "head": {"op": "classifier"},
        }
        return arch_from_dict({"name": Path(self.where).stem, **plain, **skeleton}, self.where)

    def block(self, data: Any, place: str) -> tuple[tuple[str, Any], ...]:
        data = mapping(data, f"{self.where}: {place}")
        if "op" not in data and "block" not in data:
            raise ValueError(f"{self.where}: {place}: misses the key op")
        return tuple((k, self.value(v, f"{place}.{k}", place, ())) for k, v in data.items())

    def stage(self, data: Any, place: str) -> StageTemplate:
        data = dict(mapping(data, f"{self.where}: {place}"))
        listed = data.pop("layers", None)
        if listed is not None and (not isinstance(listed, list) or not 1 <= len(listed) <= MAX_LAYERS):
            raise ValueError(f"{self.where}: {place}.layers: wanted a list of layers, got {shown(listed)}")
        stride = self.value(data.pop("stride", 1), f"{place}.stride", place, ())
        repeat = self.value(data.pop("repeat", len(listed) if listed else 1), f"{place}.repeat", place, ())
        most = max(self.repeats(repeat, place)) if listed is None else len(listed)
        self.layers += most
        if self.layers > MAX_LAYERS:
            raise ValueError(f"{self.where}: {place}: more than {MAX_LAYERS} layers")
        if listed is not None and max(self.repeats(repeat, place)) > most:
            raise ValueError(f"{self.where}: {place}.repeat: more layers than the {most} listed")
        layers = []
        for j in range(most):
            own = mapping(listed[j], f"{self.where}: {place}.layers[{j}]") if listed else {}
            merged = {**data, **own}
            if "op" not in merged and "block" not in merged:
                raise ValueError(f"{self.where}: {place}: misses the key op")
            if "stride" in own or "repeat" in own:
                raise ValueError(f"{self.where}: {place}.layers[{j}]: stride and repeat belong to the stage")
            exists = ((repeat.gene, j),) if isinstance(repeat, Hole) else ()
            pairs = []
            for key, value in merged.items():
                single = key in own or (isinstance(value, Mapping) and value.get("per") == "layer")
                pairs.append(
                    (
                        key,
                        self.value(
                            value, f"{place}.layers[{j}].{key}" if single else f"{place}.{key}", place, exists, j
                        ),
                    )
                )
            layers.append(tuple(pairs))
        return StageTemplate(stride, repeat, tuple(layers))

    def repeats(self, repeat: Any, place: str) -> tuple[int, ...]:
        options = self.options[repeat.gene] if isinstance(repeat, Hole) else (repeat,)
        return tuple(whole(option, 1, MAX_LAYERS, f"{self.where}: {place}.repeat") for option in options)

    def value(self, value: Any, place: str, stage: str, exists: tuple[tuple[int, int], ...], layer: int = -1) -> Any:
        """A plain value as it is; a choice as a Hole, its conditions noted."""
        key = place.rsplit(".", 1)[-1]
        if key == "block" and not (isinstance(value, Mapping) and "one_of" in value):
            self.check_block(value, place)
            return value
        if not isinstance(value, Mapping):
            return tuple(value) if isinstance(value, list) else value
        known_keys(value, ("one_of", "per", "when"), f"{self.where}: {place}")
        if "one_of" not in value or value.get("per", "stage") not in ("stage", "layer"):
            raise ValueError(f"{self.where}: {place}: wanted one_of: [..] and per: stage or layer, got {shown(value)}")
        choice, name = value["one_of"], place
        if isinstance(choice, Mapping):
            known_keys(choice, ("name", "of"), f"{self.where}: {place}.one_of")
            given, choice = choice.get("name"), choice.get("of")
            if not is_word(given):
                raise ValueError(f"{self.where}: {place}.one_of.name: wanted a word, got {shown(given)}")
            name = f"{given}[{layer}]" if value.get("per") == "layer" else str(given)
        return self.hole(name, self.checked(choice, place), value.get("when", {}), place, stage, exists)

    def checked(self, options: Any, place: str) -> tuple[Any, ...]:
        """The options as a tuple; those of a stage's key are looked at once, however many layers it has."""
        key = (id(options), place.endswith(".block"))
        if key not in self.seen:
            self.seen[key] = (options, self.check_options(options, place))
        return self.seen[key][1]

    def check_options(self, options: Any, place: str) -> tuple[Any, ...]:
        if not isinstance(options, list) or not 1 <= len(options) <= MAX_OPTIONS:
            raise ValueError(f"{self.where}: {place}.one_of: wanted a list of options, got {shown(options)}")
        if any(isinstance(o, Mapping) for o in options) and not place.endswith(".block"):
            raise ValueError(f"{self.where}: {place}.one_of: a choice of mappings belongs under the key block")
        if len({json.dumps(o, default=str) for o in options}) < len(options):
            raise ValueError(f"{self.where}: {place}.one_of: an option stands twice in {shown(options)}")
        for option in options if place.endswith(".block") else ():
            self.check_block(option, f"{place}.one_of")
        return tuple(tuple(o) if isinstance(o, list) else o for o in options)

    def check_block(self, block: Any, place: str) -> None:
        if not isinstance(block, Mapping) or not isinstance(block.get("op"), str):
            raise ValueError(f"{self.where}: {place}: wanted a block such as {{op: mbconv, ..}}, got {shown(block)}")
        for key, value in mapping(block, f"{self.where}: {place}").items():
            if isinstance(value, Mapping):
                raise ValueError(f"{self.where}: {place}.{key}: wanted a plain value, got {shown(value)}")

    def hole(
        self,
        name: str,
        options: tuple[Any, ...],
        when: Any,
        place: str,
        stage: str,
        exists: tuple[tuple[int, int], ...],
    ) -> Hole:
        index = self.names.setdefault(name, len(self.options))
        if index == len(self.options):
            if index >= MAX_GENES:
                raise ValueError(f"{self.where}: more than {MAX_GENES} choices")
            self.options.append(options)
            self.conditions.append([])
        elif self.options[index] is not options and self.options[index] != options:
            raise ValueError(
                f"{self.where}: {place}: the choice {name!r} has other options elsewhere: {shown(self.options[index])}"
            )
        self.conditions[index].append((place, {**mapping(when, f"{self.where}: {place}.when"), "": (stage, exists)}))
        return Hole(index, (("pending", place),))  # type: ignore[arg-type]

    def whens(self, index: int) -> tuple[tuple[tuple[int, frozenset[int]], ...], ...]:
        """The alternatives under which a gene is active, without those that another one covers."""
        alternatives = list(dict.fromkeys(self.condition(place, when) for place, when in self.conditions[index]))
        return tuple(a for a in alternatives if not any(set(b) < set(a) for b in alternatives))

    def condition(self, place: str, when: Mapping[str, Any]) -> tuple[tuple[int, frozenset[int]], ...]:
        stage, exists = when[""]
        rules = [(g, frozenset(i for i, n in enumerate(self.options[g]) if n > j)) for g, j in exists]
        rules = [(g, allowed) for g, allowed in rules if len(allowed) < len(self.options[g])]
        for key, wanted in when.items():
            if key:
                local = (f"{place.rsplit('.', 1)[0]}.{key}", f"{stage}.{key}", key)
                rules.append(
                    self.rule(next((n for n in local if n in self.names), key), wanted, f"{self.where}: {place}.when")
                )
        return tuple(rules)

    def rule(self, name: str, wanted: Any, where: str) -> tuple[int, frozenset[int]]:
        if name not in self.names:
            near = nearest(name, self.names)
            raise ValueError(f"{where}: no choice is named {name!r}" + (f"; did you mean {near!r}?" if near else ""))
        gene, values = self.names[name], wanted if isinstance(wanted, list) else [wanted]
        allowed = frozenset(i for i, option in enumerate(self.options[gene]) if option in values)
        if not allowed:
            raise ValueError(
                f"{where}: {name} is never {shown(wanted)}; its options are {shown(list(self.options[gene]))}"
            )
        return gene, allowed

    def resolved(self, pairs: tuple[tuple[str, Any], ...]) -> tuple[tuple[str, Any], ...]:
        return tuple((key, self.filled(value)) for key, value in pairs)

    def filled(self, value: Any) -> Any:
        if not isinstance(value, Hole):
            return value
        place = value.when[0][1]
        when = next(when for at, when in self.conditions[value.gene] if at == place)
        return Hole(value.gene, self.condition(str(place), when))

    def forbid(self, data: Any) -> tuple[tuple[tuple[int, frozenset[int]], ...], ...]:
        if not isinstance(data, list) or not all(isinstance(rule, Mapping) and rule for rule in data):
            raise ValueError(f"{self.where}: forbid: wanted a list of combinations, got {shown(data)}")
        return tuple(
            tuple(self.rule(k, v, f"{self.where}: forbid[{i}]") for k, v in rule.items()) for i, rule in enumerate(data)
        )

    def check(self, space: Space) -> None:
        """Every option of every layer resolves against its block, and the smallest and a few random genomes can be built."""
        try:
            space.active([0] * len(space.genes))
        except RecursionError:
            raise ValueError(
                f"{self.where}: the conditions of its choices lead from one to the next too often"
            ) from None
        defaults = dict(space.base.defaults)
        share = max(20, 12_000 // sum(len(stage.layers) for stage in space.stages))
        for block in itertools.islice(space._blocks_of(space.stem), share):
            whole(block.get("stride", 1), 1, 16, f"{self.where}: stem.stride")
            resolve(block, defaults, f"{self.where}: stem")
        for block in itertools.islice(space._blocks_of(space.head), share):
            resolve(block, defaults, f"{self.where}: head", HEADS)
        for i, stage in enumerate(space.stages):
            for option in space.genes[stage.stride.gene].options if isinstance(stage.stride, Hole) else (stage.stride,):
                whole(option, 1, 16, f"{self.where}: stages[{i}].stride")
            for j, layer in enumerate(stage.layers):
                for block in itertools.islice(space._blocks_of(layer), share):
                    resolve(
                        block,
                        defaults,
                        f"{self.where}: stages[{i}]" + (f".layers[{j}]" if len(stage.layers) > 1 else ""),
                    )
        for option in (
            space.genes[space.resolution.gene].options if isinstance(space.resolution, Hole) else (space.resolution,)
        ):
            whole(option, 1, 8192, f"{self.where}: resolution")
        rng = np.random.default_rng(0)
        for genome in [space.sample(rng) for _ in range(3 if space.genes else 1)]:
            arch = space.decode(genome)
            lower(arch_from_dict(arch.to_dict(), self.where), self.where)
