"""Another device's measurements on the node of a Ray cluster that carries a resource of its own: a board that joined it.

    ray start --address=<head>:6379 --resources='{"pixel": 1}'              # on the board
    nas search device=remote device.remote.resource=pixel device.remote.device.name=litert

Which node a job runs on is the executor's to see to (`nas.runtime.placed`); here a job that arrived is carried out. The
resource is taken whole while a job runs, so that one board measures one thing at a time.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.arch import Arch
from nas.latency.devices.base import make_device
from nas.latency.devices.measure import Failed
from nas.latency.timing import DeviceError
from nas.records import Measurement
from nas.space import Space

PLACE = "NAS_RESOURCE"  # of a worker's environment: the resource that its node was chosen for


@dataclass(frozen=True)
class Remote:
    """`device` has the settings of the one that measures, `resource` the name that its node carries."""

    resource: str
    device: Mapping[str, Any] = field(default_factory=lambda: {"name": "litert"})
    address: str | None = "auto"
    wait_s: float = 60.0
    predictor: str | None = None

    def __post_init__(self) -> None:
        if not self.resource:
            raise ValueError("resource: expected the name of a resource that a node of the cluster carries")
        if self.device.get("name") == "remote":
            raise ValueError("device.name: expected a device that measures, got remote")
        self._inner()

    @property
    def timeout_s(self) -> float:
        return self._inner().timeout_s

    def info(self) -> dict[str, Any]:
        return {**self._inner().info(), "resource": self.resource}

    def fingerprint(self) -> str:
        from nas.latency.devices.measure import info_fingerprint

        return info_fingerprint(self.info())

    def measure(self, archs: Arch | Sequence[Arch], failed: Failed | None = None) -> list[Measurement]:
        self._check_place()
        own = {"fingerprint": self.fingerprint()}
        measured = self._inner().measure(archs, failed)
        return [dataclasses.replace(m, info={**m.info, "resource": self.resource}, **own) for m in measured]

    def fit(self, space: Space, seed: int, progress: Any = None) -> Any:
        self._check_place()
        return self._inner().fit(space, seed, progress)

    def _check_place(self) -> None:
        if os.environ.get(PLACE) != self.resource:
            raise DeviceError(f"the device is the node with the resource {self.resource!r}, and this worker was not sent there")

    def _inner(self) -> Any:
        return make_device(self.device, "device")
