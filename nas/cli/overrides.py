"""What a user typed, before Hydra reads it: settings that would be ignored are refused, and what a sweep varies is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

PLACES = "nas names the folder of a run itself; run=<folder> chooses another"
LOGS = "the log of a run is log.txt in its folder"
UNUSED = {
    "hydra.run.dir": PLACES,
    "hydra.sweep.dir": PLACES,
    "hydra.sweep.subdir": PLACES,
    "hydra.output_subdir": PLACES,
    "hydra.job.chdir": PLACES,
    "hydra/job_logging": LOGS,
    "hydra/hydra_logging": LOGS,
    "hydra.job_logging": LOGS,
    "hydra.hydra_logging": LOGS,
    "hydra.verbose": LOGS,
}
NAMED = ("device", "objective.metrics", "objective.constraints")  # mappings whose keys are names: one less is a choice


def check_used(args: Sequence[str], groups: Sequence[str]) -> None:
    """Raises ValueError for an override that would change nothing, or that would fall back to a value that no file states."""
    for arg in args:
        key = key_of(arg)
        for unused, instead in UNUSED.items():
            if key == unused or key.startswith(f"{unused}."):
                raise ValueError(f"{key}: has no effect; {instead}")
        if arg.startswith("~") and key not in groups and key.rpartition(".")[0] not in NAMED:
            raise ValueError(f"~{key}: a setting cannot be left out; set it, as in {key}=<value>")


def check_outputs(command: str, args: Sequence[str], varied: Sequence[str]) -> None:
    """Raises ValueError for a sweep whose jobs would write one file or folder over another."""
    if not varied:
        return
    example = "${" + next((key for key in varied if "." not in key), varied[0]) + "}"
    for key in ("out", "plot"):
        value = value_of(args, key)
        if value not in (None, "null") and key not in varied and "${" not in value:
            path = PurePath(value)
            named = path.with_stem(f"{path.stem}-{example}") if path.suffix else path / example
            raise ValueError(f"{key}: all jobs of this sweep would write to {value}; name a place for each, as in '{key}={named}'")
    if command == "export" and value_of(args, "weights") and value_of(args, "out") is None and "weights" not in varied:
        raise ValueError(f"out: all jobs of this sweep would write one bundle; name a folder for each, as in 'out=bundles/{example}'")


def key_of(override: str) -> str:
    """The key of an override, without what says how it is set."""
    return override.lstrip("+~").partition("=")[0].partition("@")[0]


def swept(args: Sequence[str]) -> tuple[str, ...]:
    """The keys that a sweep varies, in alphabetical order."""
    found = set()
    for arg in args:
        try:
            parsed = None if arg.startswith("-") else OverridesParser.create().parse_override(arg)
        except HydraException:  # said by Hydra, with the rest
            continue
        if parsed is not None and parsed.is_sweep_override():
            found.add(key_of(arg))
    return tuple(sorted(found))


def job_name(overrides: Sequence[str], keys: Sequence[str]) -> str:
    """What a job of a sweep is called: what it sets of the keys that are varied, such as `controller=random,seed=0`."""
    values: Mapping[str, str] = {key_of(override): override.partition("=")[2] for override in overrides}
    return ",".join(f"{key}={values[key]}" for key in keys if key in values)


def value_of(args: Sequence[str], key: str) -> str | None:
    """The value of a key as it was typed, without quotes around it."""
    found = [arg.partition("=")[2] for arg in args if not arg.startswith("-") and key_of(arg) == key]
    return found[-1].strip("'\"") if found else None
