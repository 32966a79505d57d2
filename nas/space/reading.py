"""A space's file into a space. Raises ValueError naming the place for anything that could not be decoded later."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from nas.arch import (
    MAX_LAYERS,
    SCALARS,
    Arch,
    Knob,
    arch_from_dict,
    as_name,
    is_list,
    is_mapping,
    is_word,
    known_keys,
    mapping,
    shown,
    whole,
)
from nas.arch.files import SPACE_ONLY
from nas.space.choices import Choices, Pending, Place
from nas.space.decoding import Template
from nas.space.template import Pairs, StageTemplate

TOP = ("name", "resolution", "defaults", "stem", "stages", "head", *SCALARS, *SPACE_ONLY)
MAX_STAGES, MAX_DIVISOR = 100, 256


def read_template(data: object, where: str) -> Template:
    """Reads a space; `where` opens the messages of its errors, and names it where it has no name of its own."""
    data = mapping(data, where)
    known_keys(data, TOP, where)
    for key in ("resolution", "stem", "stages", "head"):
        if key not in data:
            raise ValueError(f"{where}: missing key {key!r}")
    return _Reader(where).read(data)


class _Reader:
    """Walks the file; `layers` counts those of the stages so far."""

    def __init__(self, where: str):
        self.where = where
        self.choices = Choices(where)
        self.layers = 0

    def read(self, data: Mapping[str, object]) -> Template:
        base = self.base(data)
        resolution = self.value(data["resolution"], Place("resolution", ""))
        stem = self.block(data["stem"], "stem")
        listed = data["stages"]
        if not is_list(listed) or not 1 <= len(listed) <= MAX_STAGES:
            raise ValueError(f"{self.where}: stages: expected a list of 1 to {MAX_STAGES} stages, got {shown(listed)}")
        stages = [self.stage(stage, f"stages[{i}]") for i, stage in enumerate(listed)]
        head = self.block(data["head"], "head")
        return Template(
            name=base.name,
            genes=self.choices.genes(),
            forbid=self.choices.forbidden(data.get("forbid", [])),
            base=base,
            resolution=self.choices.filled(resolution),
            stem=self.choices.resolved(stem),
            stages=tuple(self.filled(stage) for stage in stages),
            head=self.choices.resolved(head),
            divisor=whole(data.get("divisor", 1), 1, MAX_DIVISOR, f"{self.where}: divisor"),
            source=json.dumps(data, default=str),
        )

    def base(self, data: Mapping[str, object]) -> Arch:
        """Everything without choices, checked by the architecture's own reader."""
        plain = {k: data[k] for k in ("name", "defaults", *SCALARS) if k in data}
        skeleton = {
            "resolution": 32,
            "stem": {"op": "identity"},
            "stages": [{"op": "identity"}],
            "head": {"op": "classifier"},
        }
        return arch_from_dict({"name": as_name(Path(self.where).stem), **plain, **skeleton}, self.where)

    def filled(self, stage: StageTemplate) -> StageTemplate:
        layers = tuple(self.choices.resolved(layer) for layer in stage.layers)
        return StageTemplate(self.choices.filled(stage.stride), self.choices.filled(stage.repeat), layers)

    def block(self, data: object, path: str) -> Pairs:
        data = mapping(data, f"{self.where}: {path}")
        self.needs_op(data, path)
        return tuple((k, self.value(v, Place(f"{path}.{k}", path))) for k, v in data.items())

    def needs_op(self, data: Mapping[str, object], path: str) -> None:
        if "op" not in data and "block" not in data:
            raise ValueError(f"{self.where}: {path}: missing key 'op'")

    def stage(self, data: object, path: str) -> StageTemplate:
        data = dict(mapping(data, f"{self.where}: {path}"))
        listed = data.pop("layers", None)
        if listed is not None and (not is_list(listed) or not 1 <= len(listed) <= MAX_LAYERS):
            raise ValueError(f"{self.where}: {path}.layers: expected a list of layers, got {shown(listed)}")
        stride = self.value(data.pop("stride", 1), Place(f"{path}.stride", path))
        repeat = self.value(data.pop("repeat", len(listed) if listed else 1), Place(f"{path}.repeat", path))
        most = self.most(repeat, listed, path)
        layers: list[Pairs] = []
        for j in range(most):
            own: Mapping[str, object] = mapping(listed[j], f"{self.where}: {path}.layers[{j}]") if listed else {}
            layers.append(tuple(self.layer(data, own, path, j, repeat)))
        return StageTemplate(stride, repeat, tuple(layers))

    def most(self, repeat: Knob | Pending, listed: list[object] | None, path: str) -> int:
        """The layers that a stage can have."""
        options = self.choices.options[repeat.gene] if isinstance(repeat, Pending) else (repeat,)
        deepest = max(whole(option, 1, MAX_LAYERS, f"{self.where}: {path}.repeat") for option in options)
        most = deepest if listed is None else len(listed)
        self.layers += most
        if self.layers > MAX_LAYERS:
            raise ValueError(f"{self.where}: {path}: more than {MAX_LAYERS} layers")
        if deepest > most:
            raise ValueError(f"{self.where}: {path}.repeat: more layers than the {most} listed")
        return most

    def layer(
        self, shared: Mapping[str, object], own: Mapping[str, object], path: str, j: int, repeat: Knob | Pending
    ) -> Iterator[tuple[str, Knob | Pending]]:
        """Layer j of a stage: what the stage says for all of them, and what it says for itself."""
        merged = {**shared, **own}
        self.needs_op(merged, path)
        if "stride" in own or "repeat" in own:
            raise ValueError(f"{self.where}: {path}.layers[{j}]: stride and repeat belong to the stage")
        exists = ((repeat.gene, j),) if isinstance(repeat, Pending) else ()
        for key, value in merged.items():
            single = key in own or (is_mapping(value) and value.get("per") == "layer")
            at = f"{path}.layers[{j}].{key}" if single else f"{path}.{key}"
            yield key, self.value(value, Place(at, path, exists), j)

    def value(self, value: object, place: Place, layer: int = -1) -> Knob | Pending:
        """A plain value as it is; a choice as a pending hole, its conditions noted."""
        if place.key == "block" and not (is_mapping(value) and "one_of" in value):
            self.choices.check_block(value, place.path)
            return value
        if not is_mapping(value):
            return tuple(value) if is_list(value) else value
        at = f"{self.where}: {place.path}"
        known_keys(value, ("one_of", "per", "when"), at)
        if "one_of" not in value or value.get("per", "stage") not in ("stage", "layer"):
            raise ValueError(f"{at}: expected one_of: [..] and per: stage or layer, got {shown(value)}")
        choice, name = value["one_of"], place.path
        if is_mapping(choice):
            known_keys(choice, ("name", "of"), f"{at}.one_of")
            given, choice = choice.get("name"), choice.get("of")
            if not is_word(given):
                raise ValueError(f"{at}.one_of.name: expected a word, got {shown(given)}")
            name = f"{given}[{layer}]" if value.get("per") == "layer" else str(given)
        return self.choices.add(name, choice, value.get("when", {}), place)
