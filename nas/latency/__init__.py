"""Latency on a device: networks measured, and predictors of a space, from sums of layers or learned from whole networks.

device = make_device({"name": "onnxruntime"})
device.measure([arch, other])                # records of whole networks, measured in turns
predictor = device.fit(space, seed=0)        # sums of layers
predictor.predict_many(space, genomes)       # (n,) milliseconds
"""

from nas.latency.devices.base import Device, DeviceDefaults, Placement
from nas.latency.devices.host import Host
from nas.latency.devices.litert import LiteRT
from nas.latency.devices.onnxruntime import OnnxRuntime
from nas.latency.devices.registry import DEVICES, make_device
from nas.latency.predictors.base import Predictor
from nas.latency.predictors.layerwise.fitting import Bench, Budget, fit_layerwise
from nas.latency.predictors.layerwise.predictor import LayerwisePredictor, MeasuredBlock, MeasuredNetwork
from nas.latency.predictors.learned.predictor import LearnedPredictor, fit_predictor
from nas.latency.predictors.learned.selection import good_enough, next_to_measure
from nas.latency.predictors.loading import load_predictor, read_predictor
from nas.latency.predictors.table import TablePredictor
from nas.latency.timing import DeviceError, Program, Timing

__all__ = [
    "DEVICES",
    "Bench",
    "Budget",
    "Device",
    "DeviceDefaults",
    "DeviceError",
    "Host",
    "LayerwisePredictor",
    "LearnedPredictor",
    "LiteRT",
    "MeasuredBlock",
    "MeasuredNetwork",
    "OnnxRuntime",
    "Placement",
    "Predictor",
    "Program",
    "TablePredictor",
    "Timing",
    "fit_layerwise",
    "fit_predictor",
    "good_enough",
    "load_predictor",
    "make_device",
    "next_to_measure",
    "read_predictor",
]
