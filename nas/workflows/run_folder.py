"""A run's folder: its name, its journal, its log, and whether the command fits what it began with."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nas.core.plugins import load_plugins
from nas.core.settings import nearest
from nas.journal import Journal
from nas.nn.weights import absolute_source
from nas.records import JSON
from nas.workflows.log import FILE

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class Run:
    """Where a workflow works, and how the user asked for it.

    Args:
        folder: The run's folder, absolute.
        again: The command line or the Python call that resumes it.
        what: Which of the two it is.
    """

    folder: Path
    again: str
    what: Literal["command", "call"] = "command"

    @property
    def shown(self) -> str:
        """The folder, as people see it."""
        return os.path.relpath(self.folder)

    def stopped(self, text: str) -> KeyboardInterrupt:
        """What a Ctrl-C ends with."""
        return KeyboardInterrupt(f"{text}; the same {self.what} resumes:\n  {self.again}")


CHOSEN_AT_START = ("search.in_flight",)  # where the command leaves it open, the run's own value stays
DIGEST = "data.digest"  # the key of the identity that holds the digest of the dataset
NOT_IDENTITY = ("trials", "samples", "run", "out", "storage", "track", "plugins")


def run_folder(run: str | None, overrides: Sequence[str], job: str = "") -> Path:
    """The folder of a run; by default named after the identity keys that the user set, so that the same command resumes.

    `job` is what a job of a sweep varies, as `seed=0`: with `run=` given, each has a folder of that name in it.
    """
    if run is not None:
        return Path(run) / _job_folder(job)
    parts = [part for part in overrides if _names(part)]
    parts_text = [_word(part) for part in parts]
    name = "-".join(parts_text) or "default"
    if len(name) > 100 or any(re.search(r"[^\w.,=\[\]'\"-]", part) for part in parts):
        name = f"{name[:80]}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:6]}"
    return Path("runs") / name


def _job_folder(job: str) -> str:
    """The name of a job as a file system takes it; where that changes it, with what tells it from its like."""
    name = re.sub(r"[^\w.,=\[\]+-]+", "_", job)[:100]
    return name if name == job else f"{name[:80]}-{hashlib.sha256(job.encode()).hexdigest()[:6]}"


def _names(override: str) -> bool:
    key = override.lstrip("+~").partition("=")[0]
    return key not in NOT_IDENTITY and not key.startswith(("executor", "hydra"))


def _word(override: str) -> str:
    key, _, value = override.lstrip("+~").partition("=")
    value = value.strip("'\"")
    if key in ("space", "arch"):
        value = Path(value).stem if value.endswith((".yaml", ".yml")) else value
    text = (
        value
        if key in ("space", "controller", "dataset", "objective", "device", "recipe", "evaluator", "arch")
        else f"{key}_{value}"
    )
    return re.sub(r"[^\w.]+", "_", text).strip("_.") or "x"


def as_config(command: DataclassInstance) -> dict[str, JSON]:
    """The settings of a command as plain data, as config.yaml and the journal have them."""
    return {field.name: _plain(getattr(command, field.name)) for field in dataclasses.fields(command)}


def _plain(value: JSON) -> JSON:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return list(value) if isinstance(value, tuple) else value


def open_run(folder: Path, identity: Mapping[str, JSON], meta: Mapping[str, JSON]) -> Journal:
    """The journal of a new run, or of one that resumes. Raises ValueError naming the first identity key that differs.

    A run that ended before anything was prepared, trained or measured, as after a mistake in the command, starts over.
    """
    made_folder(folder)
    path = folder / "journal.sqlite"
    if not path.exists():
        others = [p.name for p in folder.iterdir() if p.name != FILE and not p.name.startswith(".")]
        if others:
            raise ValueError(f"run: the folder {folder} holds {others[0]!r} and no journal; choose an empty one")
        return Journal.create(path, {**meta, "identity": dict(identity)})
    journal = Journal.open(path)
    try:
        _same(flat(journal.get("identity", {})), flat(identity), folder)
    except ValueError:
        empty = not journal.trials(0, 1) and not journal.measurements() and journal.get("preparation") is None
        journal.close()
        if not empty:
            raise
        path.unlink()
        return Journal.create(path, {**meta, "identity": dict(identity)})
    return journal


def made_folder(folder: Path) -> None:
    """Raises ValueError where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"run: cannot make the folder {os.path.relpath(folder)}: {error.strerror}") from None


def _same(theirs: Mapping[str, JSON], ours: Mapping[str, JSON], folder: Path) -> None:
    for key in [*theirs, *(k for k in ours if k not in theirs)]:
        then, now = theirs.get(key), ours.get(key)
        if then != now and key == DIGEST and then and now:
            raise ValueError(f"run: {changed_data(folder)}")
        if then != now and not (now is None and key in CHOSEN_AT_START):
            raise ValueError(
                f"{key}: the run in {folder} began with {_shown(then)}, this command has {_shown(now)}; run=<another folder> starts anew"
            )


def changed_data(folder: Path) -> str:
    """What is wrong where a run would continue with other images than it began with."""
    return (
        f"the images, labels or class names are not those that {folder} began with (their digest differs); "
        "restore them, or run=<another folder> starts anew"
    )


def flat(data: object, prefix: str = "") -> dict[str, JSON]:
    """`{"recipe": {"epochs": 3}}` as `{"recipe.epochs": 3}`."""
    if not isinstance(data, Mapping):
        return {prefix: list(data) if isinstance(data, tuple) else data}
    return {
        k: v for key, value in data.items() for k, v in flat(value, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def _shown(value: object) -> str:
    return json.dumps(value, default=str)[:60]


def use_plugins(modules: Sequence[str]) -> None:
    """Imports the user's modules, which may lie in the working folder."""
    load_plugins(modules, [os.getcwd()] if modules else [])


def with_paths(settings: Mapping[str, JSON]) -> dict[str, JSON]:
    """Settings whose files are named from the root: workers have other working folders."""
    paths = {key: settings[key] for key in ("path", "predictor", "weights", "cost") if isinstance(settings.get(key), str)}
    found = {**settings, **{key: str(Path(path).expanduser().absolute()) for key, path in paths.items()}}
    if isinstance(start := settings.get("start"), str):
        found["start"] = absolute_source(start)
    return found


def journal_folder(run: str) -> Path:
    """The folder of a run that there is. Raises ValueError naming the nearest one."""
    folder = Path(run)
    if not (folder / "journal.sqlite").is_file():
        around = [p.parent.name for p in folder.parent.glob("*/journal.sqlite")] if folder.parent.is_dir() else []
        near = nearest(folder.name, around)
        hint = (
            f"; did you mean {folder.parent / near}?"
            if near
            else f" (runs there: {', '.join(sorted(around)[:10])})"
            if around
            else ""
        )
        raise ValueError(f"run: no journal.sqlite in {folder}{hint}")
    return folder
