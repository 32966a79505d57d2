"""Run as a script by `nas.convert.tflite_int8`: a .tflite file and images in, the file in 8 bits out."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np

LEAST_RANGE = 0.01  # of an activation


def main() -> None:
    source, images, target, io = sys.argv[1:]
    quantizer, recipe, qtyping = (import_module(f"ai_edge_quantizer.{name}") for name in ("quantizer", "recipe", "qtyping"))
    made = quantizer.Quantizer(source, recipe.static_wi8_ai8())
    if io == "float":
        for operation in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
            made.update_quantization_recipe(".*", operation, algorithm_key="no_quantize")
    samples = [{"images": image[None]} for image in np.load(images)]
    ranges = made.calibrate({"serving_default": samples})
    for found in ranges.values():
        # An activation that was zero over all images would get a scale of 1e-12, which LiteRT's kernels refuse.
        found["max"] = np.maximum(found["max"], found["min"] + LEAST_RANGE)
    Path(target).write_bytes(made.quantize(ranges).quantized_model)


if __name__ == "__main__":
    main()
