"""Latency on a device: whole networks measured, and a frozen predictor fitted to a sample of layers and networks."""

from nas.latency.device import DEVICES, Device, Host, make_device
from nas.latency.fit import Bench, Budget, fit_predictor
from nas.latency.predictor import MeasuredBlock, MeasuredNetwork, Predictor
from nas.latency.timing import DeviceError, Timing

__all__ = [
    "DEVICES",
    "Bench",
    "Budget",
    "Device",
    "DeviceError",
    "Host",
    "MeasuredBlock",
    "MeasuredNetwork",
    "Predictor",
    "Timing",
    "fit_predictor",
    "make_device",
]
