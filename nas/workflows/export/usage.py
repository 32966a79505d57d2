"""The part of a model card that says how a file is run without nas, as code that can be copied."""

from __future__ import annotations

from collections.abc import Collection

from nas.data.pixels import Resize, parsed
from nas.data.record import DataRecord
from nas.tasks.base import Task
from nas.tasks.boxes.geometry import LARGEST
from nas.tasks.boxes.selection import MOST, OF_CLASS
from nas.tasks.detection import Detection
from nas.tasks.segmentation import Segmentation
from nas.workflows.export import decoding

# Nothing but numbers and the lines below is put into the code.
SQUARED = {
    "squash": "",
    "crop": "    side = min(image.size)\n    left, top = (image.width - side) // 2, (image.height - side) // 2\n"
            "    image = image.crop((left, top, left + side, top + side))\n",
    "pad": "    side = max(image.size)\n    padded = Image.new(image.mode, (side, side), \"white\")\n"
           "    padded.paste(image, ((side - image.width) // 2, (side - image.height) // 2))\n    image = padded\n",
}  # fmt: skip
CENTER = """    {sides}
    left, top = (image.width - wide) // 2, (image.height - high) // 2
    image = image.crop((left, top, left + wide, top + high))
"""
SIDES = {
    "squash": "wide, high = (max(1, round({fraction} * side)) for side in image.size)",
    "crop": "wide = high = max(1, round({fraction} * min(image.size)))",
}
PIXELS = '''import json
import zipfile

import numpy as np
from PIL import Image, ImageOps


def pixels(path):
    """({side}, {side}, {channels}) uint8, as the training had it."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I"):  # 16 bits
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("{mode}")
{squared}    return np.asarray(image.resize(({side}, {side}), Image.Resampling.BILINEAR)).reshape({side}, {side}, {channels})


images = pixels("photo.jpg")[None]
'''
FACTS = {
    "onnx": '''import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
facts = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
''',
    "tflite": '''from ai_edge_litert.interpreter import Interpreter

facts = json.loads(zipfile.ZipFile("model.tflite").read("metadata.json"))
run = Interpreter("model.tflite").get_signature_runner()
''',
}  # fmt: skip
INPUTS = {
    False: 'inputs = (images.astype(np.float32) / 255 - np.float32(facts["mean"])) / np.float32(facts["std"])\n',
    True: "inputs = images\n",
}
MOVED = "inputs = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))\n"
CALLED = {
    "onnx": 'outputs = dict(zip([one.name for one in session.get_outputs()], session.run(None, {"images": inputs})))\n',
    "tflite": "outputs = run(images=inputs)\n",
}
SOFTMAX = '''logits = outputs["logits"]
exp = np.exp(logits - logits.max(1, keepdims=True))
probabilities = exp / exp.sum(1, keepdims=True)
'''
PROBABILITIES = 'probabilities = outputs["probabilities"]\n'
ANSWER = 'print({name: float(p) for name, p in zip(facts["classes"], probabilities[0])})\n'
NAMES = {"onnx": "ONNX Runtime", "tflite": "LiteRT"}


def _squared(rule: Resize) -> str:
    """Lines that do what `nas.data.pixels.squared` does before it resizes."""
    name, fraction = parsed(rule)
    return SQUARED[name] if fraction == 1 else CENTER.format(sides=SIDES[name].format(fraction=fraction))


def usage(
    task: Task, data: DataRecord, side: int, formats: Collection[str], *, preprocess: bool = False, postprocess: bool = False
) -> list[str]:
    """Lines of Markdown; none for a task without classes, or where the network takes images of another size than the dataset's.

    With `preprocess` files take uint8 images, with `postprocess` those for ONNX Runtime give objects, or classes of pixels.
    """
    if not data.classes or data.channels not in (1, 3) or (side != data.resolution and not preprocess):
        return []
    lines = ["", "## Running it without nas", "", "A photo becomes the pixels of the training:", "", "```python"]
    mode = "L" if data.channels == 1 else "RGB"
    code = PIXELS.format(side=data.resolution, channels=data.channels, mode=mode, squared=_squared(data.resize))
    if isinstance(task, Detection):
        code += decoding.places(data.resize)
    lines += [code.rstrip(), "```"]
    for name in (name for name in FACTS if name in formats):
        moved = MOVED if name == "onnx" and not preprocess else ""
        run = FACTS[name] + INPUTS[preprocess] + moved + CALLED[name]
        answer = _answer(task, name, preprocess, postprocess and name == "onnx")
        lines += ["", f"In {NAMES[name]}:", "", "```python", (run + answer).rstrip(), "```"]
    return lines


def _answer(task: Task, name: str, preprocess: bool, postprocess: bool) -> str:
    """Code from the outputs of a file to what is printed."""
    if isinstance(task, Segmentation):
        mask = decoding.WHOLE_MASK if postprocess else decoding.MASK.format(axis={"onnx": 0, "tflite": 2}[name])
        return mask + decoding.MASK_SHOWN
    if isinstance(task, Detection):
        raw = decoding.objects(task.head.scoring, LARGEST, OF_CLASS, MOST)
        return (decoding.WHOLE_OBJECTS if postprocess else raw) + decoding.OBJECTS_SHOWN
    return (PROBABILITIES if preprocess else SOFTMAX) + ANSWER
