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
    try:
        module = importlib.import_module(name)
    except Exception as error:
        raise ValueError(f"plugins: cannot import {name!r}: {type(error).__name__}: {error}") from error
    found = {key: getattr(module, key) for key in REGISTRIES if isinstance(getattr(module, key, None), dict)}
    if not found:
        raise ValueError(f"plugins: {name!r} defines none of {', '.join(REGISTRIES)}")
    for key, entries in found.items():
        _add(getattr(importlib.import_module(REGISTRIES[key]), key), entries, f"plugins: {name}.{key}")
    return module


def _add(registry: dict[str, object], entries: Mapping[str, object], where: str) -> None:
    for name, entry in entries.items():
        if name in registry and registry[name] is not entry:
            raise ValueError(f"{where}: the name {name!r} is taken")
        registry[name] = entry
