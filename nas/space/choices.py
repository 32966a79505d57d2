"""The choices that a space's file makes, collected while it is read; conditions are names until all of them are known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nas.arch import Knob, is_list, is_mapping, mapping, shown
from nas.core.settings import nearest
from nas.space.template import Gene, Hole, Pairs, Rule

MAX_OPTIONS, MAX_GENES = 1000, 2000


@dataclass(frozen=True)
class Place:
    """Where a choice stands: its path, its stage's path, and the (gene, layer) of the repeat that makes its layer exist."""

    path: str
    stage: str
    exists: tuple[tuple[int, int], ...] = ()

    @property
    def key(self) -> str:
        return self.path.rsplit(".", 1)[-1]


@dataclass(frozen=True)
class Pending:
    """A hole whose conditions are not known yet."""

    gene: int
    path: str


class _Condition(NamedTuple):
    place: Place
    when: Mapping[str, object]


@dataclass
class Choices:
    """names: index of each choice, in order; options: of each; conditions: of every place where it stands."""

    where: str
    names: dict[str, int] = field(default_factory=dict[str, int])
    options: list[tuple[Knob, ...]] = field(default_factory=list[tuple[Knob, ...]])
    conditions: list[list[_Condition]] = field(default_factory=list[list[_Condition]])
    _seen: dict[tuple[int, bool], tuple[object, tuple[Knob, ...]]] = field(
        default_factory=dict[tuple[int, bool], tuple[object, tuple[Knob, ...]]]
    )

    def add(self, name: str, listed: object, when: object, place: Place) -> Pending:
        """Notes a choice, or another place of one that is known by that name."""
        options = self._checked(listed, place)
        index = self.names.setdefault(name, len(self.options))
        if index == len(self.options):
            if index >= MAX_GENES:
                raise ValueError(f"{self.where}: more than {MAX_GENES} choices")
            self.options.append(options)
            self.conditions.append([])
        elif self.options[index] is not options and self.options[index] != options:
            raise ValueError(
                f"{self.where}: {place.path}: the choice {name!r} has other options elsewhere: "
                f"{shown(self.options[index])}"
            )
        self.conditions[index].append(_Condition(place, mapping(when, f"{self.where}: {place.path}.when")))
        return Pending(index, place.path)

    def genes(self) -> tuple[Gene, ...]:
        return tuple(Gene(name, self.options[i], self._whens(i)) for name, i in self.names.items())

    def filled(self, value: Knob | Pending) -> Knob | Hole:
        """A pending hole with its conditions; other values as they are."""
        if not isinstance(value, Pending):
            return value
        there = next(one for one in self.conditions[value.gene] if one.place.path == value.path)
        return Hole(value.gene, self._rule(there))

    def resolved(self, pairs: Sequence[tuple[str, Knob | Pending]]) -> Pairs:
        return tuple((key, self.filled(value)) for key, value in pairs)

    def forbidden(self, data: object) -> tuple[Rule, ...]:
        """The rules of the key `forbid`."""
        rules = [rule for rule in data if is_mapping(rule) and rule] if is_list(data) else []
        if not is_list(data) or len(rules) < len(data):
            raise ValueError(f"{self.where}: forbid: expected a list of combinations, got {shown(data)}")
        return tuple(
            tuple(self._named(name, expected, f"{self.where}: forbid[{i}]") for name, expected in rule.items())
            for i, rule in enumerate(rules)
        )

    def check_block(self, block: object, path: str) -> None:
        if not is_mapping(block) or not isinstance(block.get("op"), str):
            raise ValueError(f"{self.where}: {path}: expected a block such as {{op: mbconv, ..}}, got {shown(block)}")
        for key, value in mapping(block, f"{self.where}: {path}").items():
            if is_mapping(value):
                raise ValueError(f"{self.where}: {path}.{key}: expected a plain value, got {shown(value)}")

    def _checked(self, options: object, place: Place) -> tuple[Knob, ...]:
        """The options as a tuple; those of a stage's key are looked at once, however many layers it has."""
        key = (id(options), place.key == "block")
        if key not in self._seen:
            self._seen[key] = (options, self._check_options(options, place))
        return self._seen[key][1]

    def _check_options(self, options: object, place: Place) -> tuple[Knob, ...]:
        at, blocks = f"{self.where}: {place.path}.one_of", place.key == "block"
        if not is_list(options) or not 1 <= len(options) <= MAX_OPTIONS:
            raise ValueError(f"{at}: expected a list of options, got {shown(options)}")
        if any(isinstance(o, Mapping) for o in options) and not blocks:
            raise ValueError(f"{at}: a choice of mappings belongs under the key block")
        if len({json.dumps(o, default=str) for o in options}) < len(options):
            raise ValueError(f"{at}: an option stands twice in {shown(options)}")
        for option in options if blocks else ():
            self.check_block(option, f"{place.path}.one_of")
        return tuple(tuple(o) if is_list(o) else o for o in options)

    def _whens(self, index: int) -> tuple[Rule, ...]:
        """The alternatives under which a gene is active, without those that another one covers."""
        alternatives = list(dict.fromkeys(self._rule(condition) for condition in self.conditions[index]))
        return tuple(a for a in alternatives if not any(set(b) < set(a) for b in alternatives))

    def _rule(self, condition: _Condition) -> Rule:
        place, when = condition
        rules = [(g, frozenset(i for i, n in enumerate(self.options[g]) if n > j)) for g, j in place.exists]
        rules = [(g, allowed) for g, allowed in rules if len(allowed) < len(self.options[g])]
        for key, expected in when.items():
            local = (f"{place.path.rsplit('.', 1)[0]}.{key}", f"{place.stage}.{key}", key)
            name = next((n for n in local if n in self.names), key)
            rules.append(self._named(name, expected, f"{self.where}: {place.path}.when"))
        return tuple(rules)

    def _named(self, name: str, expected: object, where: str) -> tuple[int, frozenset[int]]:
        if name not in self.names:
            near = nearest(name, self.names)
            raise ValueError(f"{where}: no choice is named {name!r}" + (f"; did you mean {near!r}?" if near else ""))
        gene, values = self.names[name], expected if is_list(expected) else [expected]
        allowed = frozenset(i for i, option in enumerate(self.options[gene]) if option in values)
        if not allowed:
            raise ValueError(
                f"{where}: {name} is never {shown(expected)}; its options are {shown(list(self.options[gene]))}"
            )
        return gene, allowed
