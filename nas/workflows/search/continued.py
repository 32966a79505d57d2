"""A search that resumes in its folder: what was not given this time is as the run has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nas.journal import Journal
from nas.records import JSON

OBJECTS = ("controller", "evaluator", "dataset")  # what a call from Python may give as an object


def recorded(folder: Path) -> dict[str, JSON]:
    """The settings of the run in a folder, with the last goal of it; empty where there is no run."""
    path = folder / "journal.sqlite"
    if not path.is_file():
        return {}
    with Journal.open(path, read_only=True) as journal:
        settings, starts = dict(journal.get("settings") or {}), journal.events("start")
    goal = starts[-1].data.get("trials") if starts else None
    return settings if goal is None else {**settings, "trials": goal}


def continued(folder: Path, composed: Mapping[str, JSON], given: Sequence[str]) -> dict[str, JSON]:
    """The settings of a command for the run in a folder.

    Args:
        folder: The run's folder, which need not be there.
        composed: The settings as the command line or the call alone has them.
        given: The keys that were set, dotted. Their values are those of `composed`; whether they agree with the run is for
            `open_run` to say.

    Returns:
        The settings, of which all others are the run's.

    Raises:
        ValueError: Objects of a program were part of the run, and are not replaced.
    """
    settings = recorded(folder)
    if not settings:
        return dict(composed)
    kept = {key: value for key, value in settings.items() if key in composed and key != "run" and value is not None}
    found = {**composed, **kept}
    for key in given:
        found = _taken(found, composed, key.split("."))
    for key in (key for key in OBJECTS if key not in given):
        named = found[key].get("name", "") if isinstance(found[key], Mapping) else ""
        if "." in named or (isinstance(found[key], Mapping) and "content" in found[key]):
            raise ValueError(f"{key}: the run in {folder} began with an object of a Python program, {named}; the same call resumes it")
    return found


def keys_given(changes: Mapping[str, JSON]) -> list[str]:
    """The keys that a call from Python sets, dotted as `continued` takes them; None is not given.

    Args:
        changes: By argument. Settings that change a choice set their own keys, settings with a `name`, and of devices, all.

    Example:
        >>> keys_given({"seed": 0, "recipe": {"epochs": 3}, "controller": {"name": "random"}, "trials": None})
        ['seed', 'recipe.epochs', 'controller']
    """
    found: list[str] = []
    for key, value in changes.items():
        if isinstance(value, Mapping) and value and "name" not in value and key != "device":
            found += [f"{key}.{inner}" for inner in keys_given(value)]
        elif value is not None:
            found.append(key)
    return found


def _taken(found: Mapping[str, JSON], composed: Mapping[str, JSON], path: Sequence[str]) -> dict[str, JSON]:
    """`found` with the value of one key from `composed`; without it where that has none."""
    key, rest = path[0], path[1:]
    if key not in composed:
        return {name: value for name, value in found.items() if name != key}
    if rest and isinstance(found.get(key), Mapping) and isinstance(composed[key], Mapping):
        return {**found, key: _taken(found[key], composed[key], rest)}
    return {**found, key: composed[key]}
