"""The executor of each device: that of the search, or for a remote one a worker on the node that carries its resource."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from nas.latency.devices.remote import Remote
from nas.records import WorkerSpec
from nas.runtime.base import Executor
from nas.runtime.ray import RaySettings


class Placed(Mapping[str, Executor]):
    """Executors by device; those of remote ones are started when they are first asked for, and closed by `close`."""

    def __init__(self, main: Executor, spec: WorkerSpec, devices: Mapping[str, Any]):
        self._main, self._spec, self._devices = main, spec, devices
        self._started: dict[str, Executor] = {}

    def __getitem__(self, device: str) -> Executor:
        settings = self._devices[device]
        if not isinstance(settings, Remote):
            return self._main
        if device not in self._started:
            there = RaySettings(settings.address, 1, cpus=0, wait_s=settings.wait_s, resource=settings.resource)
            spec = dataclasses.replace(self._spec, storage="")  # a board measures, and leaves no files
            self._started[device] = there.start(spec)
        return self._started[device]

    def __iter__(self) -> Iterator[str]:
        return iter(self._devices)

    def __len__(self) -> int:
        return len(self._devices)

    def close(self) -> None:
        for executor in self._started.values():
            executor.close()
        self._started.clear()
