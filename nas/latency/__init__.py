"""Latency on a device: networks measured, and predictors of a space, from sums of layers or learnt from whole networks."""

from nas.latency.active import good_enough, next_to_measure
from nas.latency.clocked import Host, LiteRT, OnnxRuntime
from nas.latency.device import DEVICES, Device, make_device
from nas.latency.fit import Bench, Budget, fit_layers
from nas.latency.learnt import LatencyPredictor, fit_predictor, load_predictor
from nas.latency.lookup import TablePredictor
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
    "LiteRT",
    "MeasuredBlock",
    "MeasuredNetwork",
    "OnnxRuntime",
    "Predictor",
    "TablePredictor",
    "Timing",
    "fit_layers",
    "fit_predictor",
    "good_enough",
    "load_predictor",
    "make_device",
    "next_to_measure",
]
