"""`DEVICES`: name -> settings class of a device that networks are measured on; `make_device` reads the settings.

    device = make_device({"name": "host", "seconds": 20})
    device.measure([arch, other])           # whole networks, in turns: a list of `nas.journal.Measurement`
    device.fit(space, seed=0)               # a frozen `Predictor` of the space

A new device is a frozen dataclass with these methods, a line in `DEVICES` and a file in `conf/device/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from nas.arch import Arch
from nas.journal import Measurement
from nas.latency.clocked import Host, LiteRT, OnnxRuntime
from nas.latency.files import Samples, Table
from nas.latency.fit import Progress
from nas.latency.measure import Failed
from nas.latency.remote import Remote
from nas.settings import named
from nas.space import Space


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


DEVICES: dict[str, type[Any]] = {
    "host": Host,
    "litert": LiteRT,
    "onnxruntime": OnnxRuntime,
    "remote": Remote,
    "samples": Samples,
    "table": Table,
}


def make_device(settings: Mapping[str, Any], where: str = "device") -> Device:
    """A device from plain settings such as `{"name": "host", "batch": 8}`. Raises ValueError naming the key."""
    return named(DEVICES, settings, where)
