"""Another device's measurements on the node of a Ray cluster that carries a resource: a board that joined it.

    ray start --address=<head>:6379 --resources='{"pixel": 1}'              # on the board
    nas search device=remote device.remote.resource=pixel device.remote.device.name=litert

The executor sends its jobs to that node (`nas.runtime.device_executors`). The resource is taken whole while a job runs, so that
one board measures one thing at a time.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nas.arch import Arch
from nas.latency.devices.base import Device, DeviceDefaults, Placement, make_device
from nas.latency.devices.measure import Failed
from nas.latency.predictors.base import Predictor, Progress
from nas.latency.timing import DeviceError
from nas.records import JSON, Measurement
from nas.space import Space

RESOURCE = "NAS_RESOURCE"  # environment variable of a worker: the resource that its node was chosen for


@dataclass(frozen=True)
class Remote(DeviceDefaults):
    """A device on another machine.

    resource: the name of the resource that its node carries.
    device: settings of the device that measures there.
    address: the cluster, as `executor.address`.
    wait_s: seconds that the node may take to join.
    predictor: see `Device.predictor`.
    """

    resource: str
    device: Mapping[str, JSON] = field(default_factory=lambda: {"name": "litert"})
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
    def placement(self) -> Placement:
        """The node with the resource."""
        return Placement(self.resource, self.address, self.wait_s)

    @property
    def timeout_s(self) -> float:
        """That of the device there."""
        return self._inner().timeout_s

    def bind(self, space: Space) -> Remote:
        """Itself; the device there is made anew for each measurement."""
        return self

    def info(self) -> dict[str, JSON]:
        """That of the device there, and the resource."""
        info = self._inner().info()
        machine = f"{info.get('machine', self.device.get('name'))}, the node with the resource {self.resource}"
        return {**info, "machine": machine, "resource": self.resource}

    def measure(self, archs: Arch | Sequence[Arch], failed: Failed | None = None) -> list[Measurement]:
        """See `Device.measure`. Raises DeviceError in a worker on another node."""
        self._check_node()
        return self._named(self._inner().measure(archs, failed))

    def _named(self, measured: Sequence[Measurement]) -> list[Measurement]:
        own = {key: self.info()[key] for key in ("machine", "resource")}
        return [dataclasses.replace(m, info={**m.info, **own}, fingerprint=self.fingerprint()) for m in measured]

    def verify(
        self, archs: Sequence[Arch], references: Sequence[tuple[Arch, float]], failed: Failed | None = None
    ) -> list[Measurement]:
        """See `Device.verify`. Raises DeviceError in a worker on another node."""
        self._check_node()
        return self._named(self._inner().verify(archs, references, failed))

    def fit(self, space: Space, seed: int, progress: Progress | None = None) -> Predictor:
        """See `Device.fit`. Raises DeviceError in a worker on another node."""
        self._check_node()
        return self._inner().fit(space, seed, progress)

    def _check_node(self) -> None:
        if os.environ.get(RESOURCE) != self.resource:
            raise DeviceError(
                f"the device is the node with the resource {self.resource!r}, and this worker is on another node"
            )

    def _inner(self) -> Device:
        return make_device(self.device, "device")
