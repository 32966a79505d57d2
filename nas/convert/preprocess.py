"""What a bundle's user would do before a network, and after a classifier, inside its graph: uint8 images in, probabilities out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.core.versions import needed

if TYPE_CHECKING:
    from jax import Array

INPUT, INNER, OUTPUT = "images", "normalized", "probabilities"


@dataclass(frozen=True)
class Preprocess:
    """Normalization before a network, and softmax after a classifier.

    Args:
        mean: Per channel, of images / 255.
        std: The same.
        side: Of the images that go in, in pixels.
        size: Of those that the network takes.
        probabilities: Whether the softmax comes after it; otherwise its outputs stay as they are.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    side: int
    size: int
    probabilities: bool = True

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image that goes in."""
        return self.side, self.side, len(self.mean)

    def around(self, infer: Callable[[Array], Any]) -> Callable[[Array], Any]:
        """A function of (n, side, side, c) uint8 that returns (n, classes) probabilities, or what `infer` returns."""
        import jax
        import jax.numpy as jnp

        mean, std = (jnp.array(values, jnp.float32).reshape(1, 1, 1, -1) for values in (self.mean, self.std))
        rows = jnp.asarray(self.rows())

        def along(images: Array, axis: int) -> Array:
            """Resizes an axis by a product of two matrices, which every converter knows."""
            moved = jnp.moveaxis(images, axis, 0)
            return jnp.moveaxis((rows @ moved.reshape(self.side, -1)).reshape(self.size, *moved.shape[1:]), 0, axis)

        def whole(images: Array) -> Any:
            scaled = (images.astype(jnp.float32) / 255 - mean) / std
            if self.side != self.size:
                scaled = along(along(scaled, 1), 2)
            return jax.nn.softmax(infer(scaled)) if self.probabilities else infer(scaled)

        return whole

    def rows(self) -> np.ndarray:
        """(size, side) float32: bilinear resizing of a column of pixels, as a product."""
        import jax

        return np.asarray(jax.image.resize(np.eye(self.side, dtype=np.float32), (self.size, self.side), "bilinear"))

    def in_onnx(self, content: bytes) -> bytes:
        """An ONNX model of normalized images as one of (n, side, side, c) uint8."""
        onnx = needed("onnx", "onnx")
        helper, array = onnx.helper, onnx.numpy_helper.from_array
        model = onnx.load_from_string(content)
        graph = model.graph
        for node in graph.node:
            node.input[:] = [INNER if name == INPUT else name for name in node.input]
        steps = [helper.make_node("Cast", [INPUT], ["pixels"], to=onnx.TensorProto.FLOAT)]
        value = "pixels"
        for op, name, numbers in (("Div", "levels", [255]), ("Sub", "mean", self.mean), ("Div", "std", self.std)):
            graph.initializer.append(array(np.array(numbers, np.float32), f"preprocess/{name}"))
            steps.append(helper.make_node(op, [value, f"preprocess/{name}"], [f"by_{name}"]))
            value = f"by_{name}"
        resizes = self.side != self.size
        steps.append(helper.make_node("Transpose", [value], ["planes" if resizes else INNER], perm=[0, 3, 1, 2]))
        if resizes:
            graph.initializer.extend([array(self.rows(), "preprocess/rows"), array(self.rows().T.copy(), "preprocess/columns")])
            steps.append(helper.make_node("MatMul", ["preprocess/rows", "planes"], ["resized_rows"]))
            steps.append(helper.make_node("MatMul", ["resized_rows", "preprocess/columns"], [INNER]))
        nodes, outputs = [*steps, *graph.node], [*graph.output]
        if self.probabilities:
            nodes.append(helper.make_node("Softmax", [outputs[0].name], [OUTPUT], axis=1))
            sizes = [d.dim_param or d.dim_value for d in outputs[0].type.tensor_type.shape.dim]
            outputs = [helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, sizes)]
        inputs = [helper.make_tensor_value_info(INPUT, onnx.TensorProto.UINT8, ("N", *self.shape))]
        for field, values in (("node", nodes), ("output", outputs), ("input", inputs)):
            graph.ClearField(field)
            getattr(graph, field).extend(values)
        onnx.checker.check_model(model)
        return model.SerializeToString()
