"""The executor of each device: that of the run, or a worker on the node where the device is placed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from nas.latency import Device
from nas.runtime.base import Executor
from nas.runtime.ray import RaySettings
from nas.runtime.spec import WorkerSpec


class DeviceExecutors(Mapping[str, Executor]):
    """Executors by the name of a device.

    Devices without a `placement` share `main`; a worker for another one is started when it is first asked for, and ended by
    `close`.
    """

    def __init__(self, main: Executor, spec: WorkerSpec, devices: Mapping[str, Device]):
        self._main, self._spec, self._devices = main, spec, devices
        self._started: dict[str, Executor] = {}

    def __getitem__(self, device: str) -> Executor:
        placement = self._devices[device].placement
        if placement is None:
            return self._main
        if device not in self._started:
            there = RaySettings(placement.address, 1, cpus=0, wait_s=placement.wait_s, resource=placement.resource)
            spec = dataclasses.replace(self._spec, storage="")  # a board measures and writes no files
            self._started[device] = there.start(spec)
        return self._started[device]

    def __iter__(self) -> Iterator[str]:
        return iter(self._devices)

    def __len__(self) -> int:
        return len(self._devices)

    def close(self) -> None:
        """Ends the workers that were started here, not `main`."""
        for executor in self._started.values():
            executor.close()
        self._started.clear()
