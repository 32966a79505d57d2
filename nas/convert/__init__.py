"""Weights from elsewhere as the start of a training; networks as files that other runtimes run: ONNX and .tflite."""

from nas.convert.fill import Imported
from nas.convert.fold import folded
from nas.convert.keras import Layer, import_layers, layers_of
from nas.convert.keras_file import read_layers
from nas.convert.onnx import onnx_bytes
from nas.convert.onnx_file import read_onnx
from nas.convert.onnx_layers import import_onnx
from nas.convert.postprocess import Objects, PixelClasses, Postprocess
from nas.convert.preprocess import Preprocess
from nas.convert.stablehlo import stablehlo_bytes
from nas.convert.start import starting_weights
from nas.convert.tflite import ConversionError, tflite_bytes
from nas.convert.tflite_int8 import quantized_tflite
from nas.convert.torch_file import read_torch
from nas.convert.torch_layers import import_state_dict

__all__ = [
    "ConversionError",
    "Imported",
    "Layer",
    "Objects",
    "PixelClasses",
    "Postprocess",
    "Preprocess",
    "folded",
    "import_layers",
    "import_onnx",
    "import_state_dict",
    "layers_of",
    "onnx_bytes",
    "quantized_tflite",
    "read_layers",
    "read_onnx",
    "read_torch",
    "stablehlo_bytes",
    "starting_weights",
    "tflite_bytes",
]
