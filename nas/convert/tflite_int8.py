"""A .tflite file in 8 bits: per-channel weights, activations by the ranges of real images, nothing but integers within.

    model = quantized_tflite(tflite_bytes(graph, variables), images)

The quantizer is Google's AI Edge Quantizer, of the extra `mobile`; it prints as it goes, so it runs in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from nas.convert.tflite import ConversionError

PROCESS = Path(__file__).with_name("tflite_int8_process.py")
Io = Literal["int8", "float"]


def quantized_tflite(model: bytes, images: np.ndarray, io: Io = "float", timeout_s: float = 600) -> bytes:
    """The 8-bit form of a .tflite model.

    Args:
        model: In float32, as `nas.convert.tflite_bytes` gives it.
        images: (n, h, w, c) float32 or uint8, as the model takes them; activations get the ranges that they have over these.
        io: What images and logits are: `float`, converted at both ends within the model, or `int8`, for processors without
            floating point; scale and zero point stand in the file.
        timeout_s: Seconds after which it is given up.

    Raises:
        ConversionError: The quantizer refuses the model.
        ValueError: The quantizer is not installed, or there is no image.
    """
    if find_spec("ai_edge_quantizer") is None:
        raise ValueError("int8: needs the package ai-edge-quantizer: pip install 'nas[mobile]'")
    if not len(images):
        raise ValueError("int8: expected one image or more, whose ranges activations get")
    with tempfile.TemporaryDirectory() as folder:
        source, calibration, target = (Path(folder) / name for name in ("model.tflite", "images.npy", "int8.tflite"))
        source.write_bytes(model)
        np.save(calibration, np.ascontiguousarray(images))
        command = [sys.executable, "-P", str(PROCESS), *map(str, (source, calibration, target)), io]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        try:
            done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False, env=environment)
        except subprocess.TimeoutExpired:
            raise ConversionError(f"int8: the quantizer took longer than {timeout_s:g} s") from None
        if done.returncode or not target.is_file():
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise ConversionError(f"int8: {lines[-1][:200] if lines else f'the quantizer ended with {done.returncode}'}")
        return target.read_bytes()
