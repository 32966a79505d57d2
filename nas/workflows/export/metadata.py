"""What a file says of itself: ONNX in its metadata, TensorFlow Lite in a zip at its end, as its own tools write it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping

from nas.core.version import __version__
from nas.core.versions import needed
from nas.data.pixels import BACKGROUND
from nas.data.record import DataRecord
from nas.records import JSON

JSON_FILE, LABELS_FILE = "metadata.json", "labels.txt"
DATE = (1980, 1, 1, 0, 0, 0)  # the same file, the same bytes


def facts_of(data: DataRecord, side: int, layout: str, preprocess: bool, outputs: Mapping[str, JSON]) -> dict[str, JSON]:
    """What stands in a file: classes, mean, std, how an image becomes its input, what its output is.

    Args:
        data: What the network was trained with.
        side: Of the images that the file takes, in pixels.
        layout: Of its axes, such as `nchw`.
        preprocess: Whether it takes uint8 images and normalizes them itself.
        outputs: What its outputs are, under `output`, and what it takes to read them.
    """
    low, high = ([(edge - mean) / std for mean, std in zip(data.mean, data.std, strict=True)] for edge in (0, 1))
    return {
        "classes": list(data.classes), "mean": list(data.mean), "std": list(data.std),
        "resolution": data.resolution, "resize": data.resize, "background": BACKGROUND,
        "color": "gray" if data.channels == 1 else "RGB", "input_side": side, "input_layout": "nhwc" if preprocess else layout,
        "input_type": "uint8" if preprocess else "float32",
        "input": "pixels as they are" if preprocess else "(pixels / 255 - mean) / std",
        "input_range": [0, 255] if preprocess else [low, high],
        **outputs, "made_by": f"nas {__version__}",
    }  # fmt: skip


def in_onnx(content: bytes, facts: Mapping[str, JSON]) -> bytes:
    """The model with a property a fact, each as JSON, and without operator sets that it does not use."""
    onnx = needed("onnx", "onnx")
    model = onnx.load_from_string(content)
    used = {node.domain for node in model.graph.node}
    kept = [one for one in model.opset_import if one.domain in used]
    model.ClearField("opset_import")
    model.opset_import.extend(kept)
    onnx.helper.set_model_props(model, {key: json.dumps(value, ensure_ascii=False) for key, value in facts.items()})
    return model.SerializeToString()


def in_tflite(content: bytes, facts: Mapping[str, JSON]) -> bytes:
    """The model with `metadata.json` and `labels.txt` in a zip behind it, which runtimes pass over and `unzip` reads."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        labels = "\n".join(" ".join(name.split()) for name in facts["classes"])
        texts = {JSON_FILE: json.dumps(facts, ensure_ascii=False, indent=1), LABELS_FILE: labels}
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name, DATE), text)
    return content + out.getvalue()


WRITERS = {"onnx": in_onnx, "tflite": in_tflite}
LAYOUTS = {"onnx": "nchw", "tflite": "nhwc"}
