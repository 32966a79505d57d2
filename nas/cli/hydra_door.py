"""The only door of Hydra and OmegaConf: a command line becomes a plain dict, Hydra's complaints become one line."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue, OmegaConfBaseException

from nas.arch import shown
from nas.cli.invocation import Invocation
from nas.cli.overrides import check_outputs, check_used, job_name, key_of, swept, value_of
from nas.cli.process import settle_process
from nas.core.paths import CONF
from nas.core.plugins import load_plugins, place
from nas.core.process import platform_fault
from nas.core.settings import nearest

PATH_KEYS = ("run", "runs", "arch", "space", "out", "storage", "path", "weights", "image", "predictor", "teacher", "teacher_weights",
             "start")  # fmt: skip
GROUPS = {"CONTROLLERS": "controller", "DATASETS": "dataset", "EVALUATORS": "evaluator", "DEVICES": "device"}
VALUED = ("--cfg", "-c", "--package", "-p", "--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--info", "-i")
QUIET = (
    "hydra.run.dir=.",
    "hydra.output_subdir=null",
    "hydra.sweep.dir=runs",
    "hydra.sweep.subdir=.",
    "hydra/job_logging=none",  # "disabled" would close every handler there is; absl's takes standard error with it
    "hydra/hydra_logging=none",
)


def with_config(command: str, args: Sequence[str], function: Callable[[Invocation], None]) -> None:
    """Calls `function` with the settings of a command line, once for each job of a sweep.

    Hydra's flags (`--cfg job`, `-m`, `--config-dir`) work as they do everywhere. Exceptions come through as they are.
    """
    check_spaces(args)
    check_used(args, groups())
    implied = _of_the_run(args) if command == "search" else []
    implied += named_devices([*implied, *args])
    load_named_plugins([*implied, *args])
    sys.argv = [f"nas {command}", *flags_first([*implied, *args]), *QUIET]
    before, os.environ["HYDRA_FULL_ERROR"] = os.environ.get("HYDRA_FULL_ERROR"), "1"

    varied = swept([quoted(arg) for arg in args])
    check_outputs(command, args, varied)
    failures: list[tuple[str, BaseException]] = []

    def task(config: Any) -> None:
        """Keeps exceptions, which Hydra would announce in its own format; after a Ctrl-C the rest of a sweep is left."""
        if any(isinstance(failure, KeyboardInterrupt) for _, failure in failures):
            return
        typed = tuple(override for override in HydraConfig.get().overrides.task if override not in implied)
        job = job_name(typed, varied)
        try:
            placed = "run" in varied or "${" in (value_of(args, "run") or "")  # the folder of each job is given
            call = Invocation(_settings(config), typed, "" if placed else job, command)
            settle_process(command, call.config)
            function(call)
        except BaseException as error:
            failures.append((job, error))

    try:
        hydra.main(version_base=None, config_path=str(CONF), config_name=command)(task)()
        _raise(failures)
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


def check_spaces(args: Sequence[str]) -> None:
    """A blank around `=` makes two words of one. Raises ValueError that shows the one."""
    for i, (word, following) in enumerate(itertools.pairwise(args)):
        key, value = word.removesuffix("="), following.removeprefix("=")
        if "=" in key or "=" in value or key[:1] in ("", "-") or value[:1] in ("-", "+", "~") or word + following == key + value:
            continue
        value = value or next(iter(args[i + 2 :]), "")
        raise ValueError(f"{key}: no blanks around =, as in {shlex.quote(f'{key}={value}')}")


def flags_first(args: Sequence[str]) -> list[str]:
    """Flags with their values, then overrides: argparse takes flags among overrides for mistakes."""
    flags, rest, left = [], [], list(args)
    while left:
        word = left.pop(0)
        if word.startswith("-"):
            flags += [word, *([left.pop(0)] if word in VALUED and left else [])]
        else:
            rest.append(quoted(word))
    return flags + rest


class JobsFailed(Exception):
    """Jobs of a sweep that ended with an error, by name."""

    def __init__(self, failures: Sequence[tuple[str, Exception]]):
        super().__init__(", ".join(job for job, _ in failures))
        self.failures = failures


def _raise(failures: Sequence[tuple[str, BaseException]]) -> None:
    for job, failure in failures:
        if not job or not isinstance(failure, Exception):
            raise failure
    if failures:
        raise JobsFailed([(job, failure) for job, failure in failures if isinstance(failure, Exception)])


def _of_the_run(args: Sequence[str]) -> list[str]:
    """The choices of the run that `run=` names where a key below one is set, and its plugins."""
    from nas.workflows.search.continued import recorded

    folder = value_of(args, "run")
    settings = recorded(Path(folder)) if folder else {}
    plugins = settings.get("plugins") or []
    found = [f"plugins=[{','.join(plugins)}]"] if plugins and value_of(args, "plugins") is None else []
    for group in GROUPS.values():
        chosen = settings.get(group) or {}
        names = [str(name) for name in (chosen if group == "device" else [chosen.get("name")])]
        if value_of(args, group) is None and any(arg.lstrip("+").startswith(f"{group}.") for arg in args) and chosen:
            found.append(f"{group}=[{','.join(names)}]" if group == "device" else f"{group}={names[0]}")
    return found


def named_devices(args: Sequence[str]) -> list[str]:
    """The choice of devices that keys such as `device.onnxruntime.batch` stand for, where none was made."""
    keys = [key_of(arg).split(".") for arg in args if not arg.startswith(("+", "-"))]
    names = dict.fromkeys(parts[1] for parts in keys if parts[0] == "device" and len(parts) > 1)
    return [f"device=[{','.join(names)}]"] if names and value_of(args, "device") is None else []


def _settings(config: Any) -> dict[str, Any]:
    if missing := sorted(OmegaConf.missing_keys(config)):
        raise MissingMandatoryValue(f"Missing mandatory value: {missing[0]}")  # OmegaConf's own names the last part alone
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(k): v for k, v in plain.items()}


def quoted(arg: str) -> str:
    """An override whose value is a path or a block string, quoted for Hydra's grammar where it needs to be."""
    key, equals, value = arg.partition("=")
    if not equals or key.startswith("-") or key.rsplit(".", 1)[-1] not in PATH_KEYS or value[:1] in ("'", '"', "["):
        return arg
    plain = re.fullmatch(r"[\w./+@%-]*", value) or (
        key not in ("arch", "weights") and re.fullmatch(r"[\w./+@%,-]*", value)
    )
    if plain:
        return arg
    return key + "='" + value.replace("'", "\\'") + "'"


def load_named_plugins(args: Iterable[str]) -> None:
    """Imports `plugins=[..]` before Hydra composes, so that `controller=mine` is a choice like any other."""
    for arg in args:
        key, _, value = arg.partition("=")
        if key == "plugins":
            names = [name.strip(" '\"") for name in value.strip("[] ").split(",")]
            for module in load_plugins([name for name in names if name], [os.getcwd()]):
                _offer(module)


def _offer(module: Any) -> None:
    """Adds a plugin's settings classes to Hydra's choices, with their defaults."""
    for key, group in GROUPS.items():
        for name, cls in getattr(module, key, {}).items():
            node: dict[str, Any] = {"name": name}
            for field in fields(cls) if is_dataclass(cls) else ():
                default = field.default_factory() if field.default_factory is not MISSING else field.default
                node[field.name] = (
                    "???" if default is MISSING else list(default) if isinstance(default, tuple) else default
                )
            package = f"device.{name}" if group == "device" else group
            ConfigStore.instance().store(name=name, node=node, group=group, package=package)


def explain(command: str, args: Sequence[str], error: Exception) -> str | None:
    """One line for the user's mistakes, in settings, data or a plugin; None for a fault of ours."""
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _hydra_line(command, args, error)
    if isinstance(error, yaml.YAMLError):  # of a file that --config-dir names
        return f"not YAML: {' '.join(str(error).split())[:300]}"
    where = place(error)
    if isinstance(error, ValueError):
        return " ".join(str(error).split()) + where
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.filename or 'file'}: {error.strerror}{where}"
    if isinstance(error, RuntimeError | AssertionError) and (line := platform_fault()):
        return line
    return f"plugins: {type(error).__name__}: {' '.join(str(error).split())[:300]}{where}" if where else None


def _hydra_line(command: str, args: Sequence[str], error: Exception) -> str:
    text = str(error) or str(error.__cause__ or type(error).__name__)
    if isinstance(error, InstantiationException | InterpolationResolutionError):
        return " ".join(text.split())[:300]
    if found := re.search(r"Could not find '([^']+)'", text):
        group, _, name = found[1].rpartition("/")
        own = " (your own needs plugins=[<its module>])" if group in GROUPS.values() else ""
        return _unknown(name, choices(group), f"{group}={name}: no such {group}") + own
    if found := re.search(r"Missing mandatory value: (\S+)", text):
        return f"{found[1]}: must be given, as in {found[1]}=..; see nas {command} --help"
    if found := re.search(r"An item is already at '([^']+)'", text):
        return f"+{found[1]}: there is such a key; drop the +, as in {found[1]}=<value>"
    key = _failed_key(text)
    if key is not None:
        return _unknown(key, _keys(command, args), f"{key}: no such key")
    if "LexerNoViableAltException" in text or type(error).__name__ == "OverrideParseException":
        override = getattr(error, "override", None) or text.splitlines()[-1]
        return f"cannot read {shown(override)}: quote values with special characters, as in \"key='a b'\""
    return " ".join(text.split())[:300]


def _failed_key(text: str) -> str | None:
    """The key of `Could not override 'a.b'` or of a struct error, without a group's choice."""
    for pattern in (
        r"full_key: (\S+)",
        r"Could not override '([^'=]+)",
        r"Key '([^']+)' is not in struct",
        r"Could not append[^']*'([^']+)'",
    ):
        if found := re.search(pattern, text):
            return found[1]
    return None


def _unknown(word: str, known: Sequence[str], line: str) -> str:
    near = nearest(word, known)
    if near is None and "." in word:
        tail = {key: key.rsplit(".", 1)[-1] for key in known}
        last = nearest(word.rsplit(".", 1)[-1], tail.values())
        near = next((key for key, value in tail.items() if value == last), None)
    return f"{line}; did you mean {near}?" if near else f"{line} (known: {', '.join(k for k in known if '.' not in k)})"


def choices(group: str) -> list[str]:
    """Names that a group's `group=name` takes."""
    files = [path.stem for path in sorted((CONF / group).glob("*.yaml"))]
    stored = ConfigStore.instance().repo.get(group, {})
    return files + [name.removesuffix(".yaml") for name in stored if name.removesuffix(".yaml") not in files]


def _keys(command: str, args: Sequence[str]) -> list[str]:
    """Every key of a command's settings with the choices that were made, dotted."""
    from nas.workflows.run_folder import flat

    chosen = [quoted(arg) for arg in [*named_devices(args), *args] if key_of(arg) in groups() and arg[:1] not in "+~-"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base=None, config_dir=str(CONF)):
        config = OmegaConf.to_container(_composed(command, chosen), resolve=False)
    keys = list(flat(config))
    parents = {".".join(key.split(".")[:i]) for key in keys for i in range(1, key.count(".") + 1)}
    return [*keys, *sorted(parents)]


def _composed(command: str, chosen: list[str]) -> Any:
    try:
        return compose(config_name=command, overrides=chosen)
    except HydraException:  # a sweep over choices
        return compose(config_name=command)


def groups() -> list[str]:
    return [path.name for path in sorted(Path(CONF).iterdir()) if path.is_dir() and any(path.glob("*.yaml"))]
