"""Post-training quantization to 8 bits, by ONNX Runtime and by AI Edge Quantizer: per-channel weights, activations by the
ranges of real images."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from nas.core.versions import needed

FILES = {"onnx": "model_int8.onnx", "tflite": "model_int8.tflite"}  # by the format that each is made from
BATCH = 32


def made_from(formats: Sequence[str]) -> list[str]:
    """Those of the formats that get a form in 8 bits. Raises ValueError where there is none, naming what is missing.

    A `.tflite` file is passed over where its quantizer is not installed and an ONNX file is there.
    """
    names = [name for name in FILES if name in formats]
    if not names:
        raise ValueError("formats: int8 is made from onnx and tflite; name one of them too")
    if len(names) > 1 and find_spec("ai_edge_quantizer") is None:
        names.remove("tflite")
    return names


class _Images:
    """Calibration images in batches, as the quantizer asks for them."""

    def __init__(self, images: np.ndarray):
        self._left = iter([images[i : i + BATCH] for i in range(0, len(images), BATCH)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        images = next(self._left, None)
        return None if images is None else {"images": np.ascontiguousarray(images.transpose(0, 3, 1, 2))}


def quantize(source: Path, target: Path, images: np.ndarray) -> None:
    """Writes the 8-bit form of an ONNX file; `images` are normalized ones (n, h, w, c) whose ranges activations get."""
    quantization: Any = needed("onnxruntime.quantization", "", "int8")
    pre: Any = needed("onnxruntime.quantization.shape_inference", "", "int8")
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        pre.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared), str(target), _Images(images), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
        )  # fmt: skip


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantizer logs advice through the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
