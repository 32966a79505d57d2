"""Where jobs run: in this process, in processes, on Ray. `EXECUTORS` maps names to settings whose `start(spec)` gives one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.core.settings import named
from nas.runtime.base import Event, Executor
from nas.runtime.local import LocalSettings
from nas.runtime.processes import ProcessesSettings
from nas.runtime.ray import RaySettings

EXECUTORS: dict[str, type] = {"local": LocalSettings, "processes": ProcessesSettings, "ray": RaySettings}


def make_executor_settings(settings: Mapping[str, Any], where: str = "executor") -> Any:
    """The settings of an executor, `start(spec)` runs it. Raises ValueError naming an unknown key or name."""
    return named(EXECUTORS, settings, where)


__all__ = ["EXECUTORS", "Event", "Executor", "make_executor_settings"]
