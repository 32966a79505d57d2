"""Latency on a device: networks measured, and predictors of a space, from sums of layers or learned from whole networks."""

from nas.latency.devices.clocked import Host, LiteRT, OnnxRuntime
from nas.latency.devices.registry import DEVICES, Device, make_device
from nas.latency.predictors.active import good_enough, next_to_measure
from nas.latency.predictors.fit import Bench, Budget, fit_layers
from nas.latency.predictors.layerwise import MeasuredBlock, MeasuredNetwork, Predictor
from nas.latency.predictors.learned import LatencyPredictor, fit_predictor, load_predictor
from nas.latency.predictors.lookup import TablePredictor
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
