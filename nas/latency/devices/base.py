"""What a device is, and devices by name: `nas.latency.devices.registry` fills `DEVICES`, plugins add to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from nas.arch import Arch
from nas.core.settings import named
from nas.latency.devices.measure import Failed
from nas.latency.predictors.fit import Progress
from nas.records import Measurement
from nas.space import Space

DEVICES: dict[str, type[Any]] = {}


class Device(Protocol):
    """Measures whole networks and fits a predictor; never two measurements at once on one machine."""

    @property
    def timeout_s(self) -> float:
        """Seconds after which a network that is not measured is given up."""
        ...

    def info(self) -> dict[str, Any]:
        """What the times hold for: batch, dtype, threads, kind of device, versions; plain data."""
        ...

    def fingerprint(self) -> str:
        """12 hex digits of `info`."""
        ...

    def measure(self, archs: Arch | Sequence[Arch], failed: Failed | None = None) -> list[Measurement]:
        """Milliseconds of whole networks. Raises DeviceError naming the architecture, or tells `failed` and goes on."""
        ...

    def fit(self, space: Space, seed: int, progress: Progress | None = None) -> Any:
        """A predictor of the space, within the device's budget of seconds."""
        ...


def make_device(settings: Mapping[str, Any], where: str = "device") -> Device:
    """A device from plain settings such as `{"name": "host", "batch": 8}`. Raises ValueError naming the key."""
    return named(DEVICES, settings, where)
