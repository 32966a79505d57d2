"""Where jobs run: in this process, in worker processes, on Ray. `EXECUTORS` maps names to settings whose `start` gives one.

executor = make_executor_settings({"name": "processes", "workers": 2}).start(spec)
outcomes = run_all(executor, jobs)          # nas.runtime.dispatch
executor.close()
"""

from __future__ import annotations

from collections.abc import Mapping

from nas.core.settings import named
from nas.records import JSON
from nas.runtime.base import Executor, ExecutorSettings, JobEvent
from nas.runtime.local import LocalSettings
from nas.runtime.processes import ProcessesSettings
from nas.runtime.ray import RaySettings
from nas.runtime.spec import WorkerSpec

EXECUTORS: dict[str, type[ExecutorSettings]] = {
    "local": LocalSettings,
    "processes": ProcessesSettings,
    "ray": RaySettings,
}


def make_executor_settings(settings: Mapping[str, JSON], where: str = "executor") -> ExecutorSettings:
    """The settings of an executor from plain ones.

    Args:
        settings: `name` (`local`, `processes` or `ray`) and the keys of that executor.
        where: The place that errors name.

    Raises:
        ValueError: An unknown name or key, or a value out of range; names the key.
    """
    return named(EXECUTORS, settings, where)


__all__ = ["EXECUTORS", "Executor", "ExecutorSettings", "JobEvent", "WorkerSpec", "make_executor_settings"]
