"""Latency on a device: whole networks measured, and a frozen predictor fitted to a sample of layers and networks."""

from nas.latency.active import good_enough, next_to_measure
from nas.latency.device import DEVICES, Device, Host, make_device
from nas.latency.fit import Bench, Budget, fit_layers
from nas.latency.learnt import LatencyPredictor, fit_predictor, load_predictor
from nas.latency.predictor import MeasuredBlock, MeasuredNetwork, Predictor
from nas.latency.timing import DeviceError, Timing

__all__ = [
    "DEVICES",
    "Bench",
    "Budget",
    "Device",
    "DeviceError",
    "Host",
    "LatencyPredictor",
    "MeasuredBlock",
    "MeasuredNetwork",
    "Predictor",
    "Timing",
    "fit_layers",
    "fit_predictor",
    "good_enough",
    "load_predictor",
    "make_device",
    "next_to_measure",
]
