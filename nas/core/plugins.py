"""A user's own blocks, datasets, controllers, evaluators and devices, from the modules named in `plugins=[..]`.

A plugin is an importable module with dicts of the same names as ours, which it adds to:

    BLOCKS = {"my_block": my_block}             # nas.arch.blocks
    HEADS = {"my_head": my_head}
    TASKS = {"regression": Regression()}        # nas.tasks: its `heads` name those of HEADS that are for it
    DATASETS = {"stripes": Stripes}             # nas.data: a frozen settings dataclass with load() -> Dataset
    CONTROLLERS = {"mine": Mine}                # nas.controllers: a frozen settings dataclass with init, ask, tell
    EVALUATORS = {"mine": MyEvaluator}          # nas.evaluators: settings derived from EvaluatorSettings, with make(context)
    DEVICES = {"board": Board}                  # nas.latency

It is imported on purpose, in the driver and in every worker, and may not replace what comes with nas.
"""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

_ROOT = Path(__file__).resolve().parents[2]  # where the package lies
REGISTRIES = {
    "BLOCKS": "nas.arch.blocks",
    "HEADS": "nas.arch.blocks",
    "TASKS": "nas.tasks",
    "DATASETS": "nas.data",
    "CONTROLLERS": "nas.controllers",
    "EVALUATORS": "nas.evaluators",
    "DEVICES": "nas.latency",
}
_named: set[str] = set()  # modules that the user named in this process


def load_plugins(modules: Sequence[str], path: Sequence[str] = ()) -> list[ModuleType]:
    """Imports modules and adds what they define to the registries; loading one twice changes nothing.

    Args:
        modules: Importable names.
        path: Folders to search last: what lies in them takes the place of nothing that is installed. Without modules, not at all.

    Returns:
        The modules.

    Raises:
        ValueError: A module cannot be imported or defines nothing, or a name is taken.
    """
    if modules:
        sys.path.extend(folder for folder in dict.fromkeys(path) if folder and folder not in sys.path)
    return [_load(module) for module in modules]


def module_path(plugins: Sequence[str]) -> tuple[str, ...]:
    """Where a worker of this process looks for modules.

    Args:
        plugins: The modules that the user named.

    Returns:
        Folders. The working folder is last, and there only if plugins may lie in it or a variable of the user names it.
    """
    here = os.getcwd()
    named = [folder for folder in sys.path if folder]
    last = [here] if plugins or here in named else []
    return tuple(dict.fromkeys([*(folder for folder in named if folder != here), str(_ROOT), *last]))


def _load(name: str) -> ModuleType:
    _named.add(name)
    try:
        module = importlib.import_module(name)
    except Exception as error:
        text = error.msg if isinstance(error, SyntaxError) else error
        raise ValueError(f"plugins: cannot import {name!r}: {type(error).__name__}: {text}{place(error)}") from error
    found = {key: getattr(module, key) for key in REGISTRIES if isinstance(getattr(module, key, None), dict)}
    if not found:
        raise ValueError(f"plugins: {name!r} defines none of {', '.join(REGISTRIES)}")
    for key, entries in found.items():
        _add(getattr(importlib.import_module(REGISTRIES[key]), key), entries, f"plugins: {name}.{key}")
    return module


def place(error: BaseException) -> str:
    """Where an error came from, if that is in the code of a plugin.

    Args:
        error: What was raised, with its traceback.

    Returns:
        ` (my_plugin.py, line 12)`: the innermost line that is the user's; empty where none is.
    """
    if not _named:
        return ""
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if error.__cause__ is not None and (cause := place(error.__cause__)):
        return cause
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno))
    mine = [(file, line) for file, line in frames if _is_users(file)]
    return f" ({_from_here(mine[-1][0])}, line {mine[-1][1]})" if mine else ""


def _is_users(file: str) -> bool:
    if any(file == getattr(sys.modules.get(name), "__file__", None) for name in _named):
        return True
    library = any(Path(file).is_relative_to(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    return os.path.isfile(file) and not library and not Path(file).is_relative_to(_ROOT / "nas")


def _from_here(file: str) -> str:
    here = Path.cwd()
    return str(Path(file).relative_to(here)) if Path(file).is_relative_to(here) else file


def _add(registry: dict[str, object], entries: Mapping[str, object], where: str) -> None:
    for name, entry in entries.items():
        if name in registry and registry[name] is not entry:
            raise ValueError(f"{where}: the name {name!r} is taken")
        registry[name] = entry
