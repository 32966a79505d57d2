"""`DEVICES`: name -> settings class of a device that networks are measured on; `make_device` reads its settings.

    device = make_device({"name": "host", "seconds": 20})
    device.measure([arch, other])           # whole networks, in turns: a list of `nas.records.Measurement`
    device.fit(space, seed=0)               # a frozen `Predictor` of the space

A new device is a frozen dataclass with the methods of `Device`, a line in `DEVICES` and a file in `conf/device/`.
"""

from __future__ import annotations

from nas.latency.devices.base import DEVICES, Device, make_device
from nas.latency.devices.files import Samples, Table
from nas.latency.devices.host import Host
from nas.latency.devices.litert import LiteRT
from nas.latency.devices.onnxruntime import OnnxRuntime
from nas.latency.devices.remote import Remote
from nas.latency.devices.shell import Shell

DEVICES |= {
    "host": Host,
    "litert": LiteRT,
    "onnxruntime": OnnxRuntime,
    "remote": Remote,
    "samples": Samples,
    "shell": Shell,
    "table": Table,
}

__all__ = ["DEVICES", "Device", "make_device"]
