"""The settings of a command as the files in conf/ have them, with changes from Python: the same that Hydra composes.

    compose("search", {"dataset": "digits", "recipe": {"epochs": 3}, "trials": 5})
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from nas.core.paths import CONF
from nas.core.settings import did_you_mean
from nas.core.yamlio import read_yaml
from nas.records import JSON

Settings = dict[str, JSON]
Choice = str | Mapping[str, JSON] | Sequence[str] | None
MISSING = "???"
OVERRIDE = re.compile(r"override /(\w+)@.*")


def compose(command: str, changes: Mapping[str, JSON]) -> Settings:
    """All settings of a command: the defaults of conf/<command>.yaml, over them what `changes` has.

    Args:
        command: Name of a file in conf/, such as `search`.
        changes: By key of that file. A group (dataset, recipe, ..) takes the name of one of its files, settings that
            change the default choice, or settings whose `name` chooses the file; `device` a name, a list of names, or
            settings by device. What is None stays as it is by default.

    Raises:
        ValueError: For a choice that there is not, and for a setting that must be given.
    """
    data: Settings = dict(read_yaml(CONF / f"{command}.yaml"))
    groups = defaults_of(data.pop("defaults", ()))
    given = {key: value for key, value in changes.items() if value is not None}
    found: Settings = {}
    for group, default in _implied(groups, given).items():
        found[group] = _devices(default, given.get(group)) if group == "device" else _group(group, default, given.get(group))
    for key, value in data.items():
        change = given.get(key)
        found[key] = merged(value, change) if isinstance(value, Mapping) and isinstance(change, Mapping) else given.get(key, value)
    _check_given(found)
    return found


def defaults_of(entries: Sequence[object]) -> dict[str, JSON]:
    """Group -> default choice, from the defaults list of a command's file."""
    return {group: choice for entry in entries if isinstance(entry, Mapping) for group, choice in entry.items()}


def _implied(groups: Mapping[str, JSON], given: Mapping[str, JSON]) -> dict[str, JSON]:
    """The default choices, some of which follow from the evaluator: published tables measure nothing."""
    path = CONF / "evaluator" / f"{_name(groups.get('evaluator'), given.get('evaluator'))}.yaml"
    if "evaluator" not in groups or not path.is_file():
        return dict(groups)
    entries = read_yaml(path).get("defaults", ())
    implied = {found[1]: choice for key, choice in defaults_of(entries).items() if (found := OVERRIDE.fullmatch(key))}
    return {**groups, **implied}


def _name(default: JSON, given: JSON) -> JSON:
    if isinstance(given, Mapping):
        return given.get("name", default)
    return default if given is None else given


def _group(group: str, default: JSON, given: JSON) -> JSON:
    """The settings of a group's choice."""
    if default is None and given is None:
        return None
    if dataclasses.is_dataclass(given) and not isinstance(given, type):
        given = dataclasses.asdict(given)
    if isinstance(given, str):
        return _file(group, given, must_exist=True)
    name = _name(default, given)
    if not isinstance(given, Mapping):
        return _file(group, name, must_exist=True)
    own = _file(group, name, must_exist=False)
    return merged(own, {key: value for key, value in given.items() if key != "name"}) if own else dict(given)


def _devices(default: JSON, given: JSON) -> Settings:
    if given is None:
        given = default or []
    if isinstance(given, str):
        given = [given]
    if isinstance(given, Mapping):
        return {
            key: merged(_file("device", settings.get("name", key), must_exist=False), settings) for key, settings in given.items()
        }
    return {name: _file("device", name, must_exist=True) for name in given}


def _file(group: str, name: str, must_exist: bool) -> Settings:
    path = CONF / group / f"{name}.yaml"
    if path.is_file() and Path(name).name == name:
        data: Settings = dict(read_yaml(path))
        return {key: value for key, value in data.items() if key != "defaults"}
    if must_exist:
        known = choices(group)
        raise ValueError(f"{group}: no such {group} {name!r}{did_you_mean(name, known)} (known: {', '.join(known)})")
    return {}


def device_settings(name: str) -> Settings:
    """The settings of a device with its defaults."""
    return _file("device", name, must_exist=True)


def choices(group: str) -> list[str]:
    """Names of the files of a group."""
    return [path.stem for path in sorted((CONF / group).glob("*.yaml"))]


def merged(own: Mapping[str, JSON], changes: Mapping[str, JSON]) -> Settings:
    """Settings with changes, nested ones key by key."""
    nested = {
        key: merged(own[key], value)
        for key, value in changes.items()
        if isinstance(value, Mapping) and isinstance(own.get(key), Mapping)
    }
    return {**own, **changes, **nested}


def _check_given(settings: Mapping[str, JSON], where: str = "") -> None:
    for key, value in settings.items():
        if value == MISSING:
            raise ValueError(f"{where}{key}: must be given")
        if isinstance(value, Mapping):
            _check_given(value, f"{where}{key}.")
