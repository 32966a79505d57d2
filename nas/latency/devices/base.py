"""What a device is, and devices by name: `nas.latency.devices.registry` fills `DEVICES`, plugins add to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from nas.arch import Arch
from nas.core.settings import named
from nas.latency.devices.measure import Failed, info_fingerprint
from nas.latency.predictors.base import Predictor, Progress
from nas.records import JSON, Measurement
from nas.space import Space


@dataclass(frozen=True)
class Placement:
    """The node of a Ray cluster that a device is: the one that carries `resource`.

    address: the cluster, as `executor.address`.
    wait_s: seconds that the node may take to join.
    """

    resource: str
    address: str | None = "auto"
    wait_s: float = 60.0


class Device(Protocol):
    """A frozen settings dataclass that measures networks and fits a latency predictor.

    It is made in the driver, which reads its attributes, and again in the worker that measures. Custom devices can take
    `placement`, `bind` and `fingerprint` from `DeviceDefaults`.
    """

    @property
    def timeout_s(self) -> float:
        """Seconds after which a network that is not measured is given up."""
        ...

    @property
    def predictor(self) -> str | None:
        """A file of `nas profile` whose predictor a search uses; None fits one with `fit`."""
        ...

    @property
    def placement(self) -> Placement | None:
        """The node that has to measure; None: any worker of the run can."""
        ...

    def bind(self, space: Space) -> Device:
        """The device for networks of one space; itself where the space makes no difference."""
        ...

    def info(self) -> dict[str, JSON]:
        """What the latencies hold for: batch, dtype, threads, kind of device, versions; plain data."""
        ...

    def fingerprint(self) -> str:
        """12 hex digits of `info`."""
        ...

    def measure(self, archs: Arch | Sequence[Arch], failed: Failed | None = None) -> list[Measurement]:
        """Measures whole networks, one at a time on a machine.

        Args:
            archs: One architecture, or several whose latencies are to be compared.
            failed: Called with an architecture that cannot be measured and its error; the others are measured all the same.

        Returns:
            A record for each architecture that was measured, in order.

        Raises:
            DeviceError: An architecture that cannot be measured, by name, where `failed` is None.
        """
        ...

    def verify(
        self, archs: Sequence[Arch], references: Sequence[tuple[Arch, float]], failed: Failed | None = None
    ) -> list[Measurement]:
        """Measures the members of a front, over time and with references of the fit where the device can.

        Args:
            archs: The members.
            references: Networks with their milliseconds at the fit.
            failed: See `measure`.

        Returns:
            See `measure`.
        """
        ...

    def fit(self, space: Space, seed: int, progress: Progress | None = None) -> Predictor:
        """Fits a predictor of the space to measurements, within the seconds that the device's settings allow."""
        ...


class DeviceDefaults:
    """What most devices have in common: any worker can measure, the space makes no difference."""

    @property
    def placement(self) -> Placement | None:
        """None."""
        return None

    def bind(self, space: Space) -> Device:
        """Itself."""
        return self  # type: ignore[return-value]  a subclass is a device

    def measure(self, archs: Arch | Sequence[Arch], failed: Failed | None = None) -> list[Measurement]:
        """See `Device.measure`; every device defines it. Raises ValueError where one does not."""
        raise _undefined(self, "measure", "a measurement of each architecture")

    def verify(
        self, archs: Sequence[Arch], references: Sequence[tuple[Arch, float]], failed: Failed | None = None
    ) -> list[Measurement]:
        """See `Device.verify`; it measures once."""
        return self.measure(archs, failed)

    def info(self) -> dict[str, JSON]:
        """See `Device.info`; every device defines it. Raises ValueError where one does not."""
        raise _undefined(self, "info", "what its latencies hold for, such as batch, threads, versions")

    def fingerprint(self) -> str:
        """See `Device.fingerprint`."""
        return info_fingerprint(self.info())


def _undefined(device: DeviceDefaults, method: str, expected: str) -> ValueError:
    return ValueError(f"device: {type(device).__name__} defines no {method}(): expected {expected}")


DEVICES: dict[str, type[Device]] = {}


def make_device(settings: Mapping[str, JSON], where: str = "device") -> Device:
    """Makes a device from plain settings.

    Args:
        settings: Such as `{"name": "host", "batch": 8}`; the keys are those of `conf/device/<name>.yaml`.
        where: The place that errors name.

    Raises:
        ValueError: An unknown name or key, or a value out of range; names the key.
    """
    return named(DEVICES, settings, where)
