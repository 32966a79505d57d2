"""What a user would do after a network, inside its ONNX file: of a detector the objects, of a segmenter the class of each pixel.

Source:
    `NonMaxSuppression` drops boxes of one class whose IoU is above its threshold: https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from nas.convert.onnx import BATCH
from nas.core.versions import needed

Output: TypeAlias = tuple[str, int, tuple[int | str, ...]]  # name, type, shape
UINT8, INT64, FLOAT = 2, 7, 1  # onnx.TensorProto.DataType
CODES, LOGITS = "codes", "logits"  # a detector's own outputs, which are no longer any


class Postprocess(ABC):
    """Operations behind the outputs of a network."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Of the outputs."""

    @abstractmethod
    def _write(self, nodes: _Nodes) -> list[Output]:
        """Adds the operations; the outputs."""

    def in_onnx(self, content: bytes) -> bytes:
        """An ONNX model with these operations, whose outputs replace its own. Raises ValueError where the package `onnx` is missing."""
        onnx = needed("onnx", "onnx")
        model = onnx.load_from_string(content)
        outputs = self._write(_Nodes(onnx, model.graph))
        model.graph.ClearField("output")
        model.graph.output.extend(onnx.helper.make_tensor_value_info(*one) for one in outputs)
        onnx.checker.check_model(model)
        return model.SerializeToString()


@dataclass(frozen=True)
class PixelClasses(Postprocess):
    """Of (N, classes, h, w) logits the class of each pixel: `mask` (N, h, w) uint8.

    Args:
        height: Of the network's output, in pixels.
        width: The same.
    """

    height: int
    width: int

    @property
    def names(self) -> tuple[str, ...]:
        return ("mask",)

    def _write(self, nodes: _Nodes) -> list[Output]:
        best = nodes.add("ArgMax", [nodes.graph.output[0].name], axis=1, keepdims=0)
        nodes.add("Cast", [best], "mask", to=UINT8)
        return [("mask", UINT8, (BATCH, self.height, self.width))]


@dataclass(frozen=True, eq=False)
class Objects(Postprocess):
    """Of a detector's codes and logits its objects, by falling score, as many rows for every image.

    Outputs are `boxes` (N, most, 4) float32, x0, y0, x1, y1 in fractions of the square that the network sees, `scores` (N, most)
    float32, `classes` (N, most) int64, from 0 on, and `count` (N,) int64, the objects of each image; rows beyond have boxes and scores
    of 0 and the class -1.

    Args:
        anchors: (A, 4) default boxes y0, x0, y1, x1.
        cells: (A, 1) sides of cells, in which the centers of YOLO's codes lie; None: codes are SSD's.
        scale: What the four numbers of SSD's codes are multiplied by.
        largest: Of the logarithms of sizes that are decoded.
        classes: Without the background.
        scores: What a score is: `softmax` with the background, `sigmoid` of its logit, or `objectness`, that times the one of the first.
        of_class: Boxes of a class that are looked at, those with the highest scores.
        looked_at: Boxes of all classes that are looked at.
        overlap: IoU above which the one of two objects of a class with the lower score is dropped.
        most: Objects of an image.
        threshold: The least score.
    """

    anchors: np.ndarray
    cells: np.ndarray | None
    scale: Sequence[float]
    largest: float
    classes: int
    scores: Literal["softmax", "sigmoid", "objectness"]
    of_class: int
    looked_at: int
    overlap: float
    most: int
    threshold: float

    @property
    def names(self) -> tuple[str, ...]:
        return "boxes", "scores", "classes", "count"

    @property
    def rows(self) -> int:
        """Of each image, which cannot have more boxes than there are."""
        return min(self.most, self.classes * len(self.anchors))

    def _write(self, nodes: _Nodes) -> list[Output]:
        nodes.rename({"boxes": CODES, "classes": LOGITS})
        boxes = self._boxes(nodes)
        scores = self._looked_at(nodes, self._scores(nodes, boxes))
        limit, overlap, threshold = nodes.ints([self.of_class]), nodes.floats([self.overlap]), nodes.floats([self.threshold])
        chosen = nodes.add("NonMaxSuppression", [boxes, scores, limit, overlap, threshold])
        kept = nodes.add("GatherND", [scores, chosen])
        nothing = nodes.add("Mul", [scores, nodes.floats([0])])
        self._sorted(nodes, boxes, nodes.add("ScatterND", [nothing, chosen, kept]))
        rows = self.rows
        return [("boxes", FLOAT, (BATCH, rows, 4)), ("scores", FLOAT, (BATCH, rows)), ("classes", INT64, (BATCH, rows)),
                ("count", INT64, (BATCH,))]  # fmt: skip

    def _boxes(self, nodes: _Nodes) -> str:
        """(N, A, 4) y0, x0, y1, x1, decoded and cut off at the border."""
        size = self.anchors[:, 2:] - self.anchors[:, :2]
        plain = CODES if self.cells is not None else nodes.add("Div", [CODES, nodes.floats(self.scale)])
        at, grown = (nodes.slice(plain, start, start + 2) for start in (0, 2))
        if self.cells is not None:
            at, size_of_code = nodes.add("Sub", [nodes.add("Sigmoid", [at]), nodes.floats(0.5)]), self.cells
        else:
            size_of_code = size
        at = nodes.add("Mul", [at, nodes.floats(size_of_code)])
        at = nodes.add("Add", [at, nodes.floats((self.anchors[:, :2] + self.anchors[:, 2:]) / 2)])
        grown = nodes.add("Exp", [nodes.add("Min", [grown, nodes.floats(self.largest)])])
        half = nodes.add("Div", [nodes.add("Mul", [grown, nodes.floats(size)]), nodes.floats(2)])
        edges = nodes.add("Concat", [nodes.add(op, [at, half]) for op in ("Sub", "Add")], axis=2)
        return nodes.add("Clip", [edges, nodes.floats(0), nodes.floats(1)])

    def _scores(self, nodes: _Nodes, boxes: str) -> str:
        """(N, classes, A); 0 of boxes without area, which are objects nowhere."""
        all_of = nodes.add("Softmax", [LOGITS], axis=2) if self.scores == "softmax" else nodes.add("Sigmoid", [LOGITS])
        scores = nodes.slice(all_of, 1, self.classes + 1)
        if self.scores == "objectness":
            scores = nodes.add("Mul", [scores, nodes.slice(all_of, 0, 1)])
        scores = nodes.add("Transpose", [scores], perm=[0, 2, 1])
        sides = nodes.add("Sub", [nodes.slice(boxes, 2, 4), nodes.slice(boxes, 0, 2)])
        least = nodes.add("ReduceMin", [sides], axes=[2], keepdims=0)
        real = nodes.add("Unsqueeze", [nodes.add("Greater", [least, nodes.floats(0)]), nodes.ints([1])])
        return nodes.add("Where", [real, scores, nodes.floats(0)])

    def _looked_at(self, nodes: _Nodes, scores: str) -> str:
        """The scores, 0 of those that are not among the best of their class and of the image."""
        each = min(self.of_class, len(self.anchors))
        best, _ = nodes.top(scores, each)
        least = nodes.slice(best, each - 1, each)
        found = nodes.add("Where", [nodes.add("GreaterOrEqual", [scores, least]), scores, nodes.floats(0)])
        if self.classes * each <= self.looked_at:
            return found
        best, _ = nodes.top(nodes.add("Flatten", [best]), self.looked_at)
        least = nodes.add("Unsqueeze", [nodes.slice(best, self.looked_at - 1, self.looked_at, axis=1), nodes.ints([2])])
        return nodes.add("Where", [nodes.add("GreaterOrEqual", [found, least]), found, nodes.floats(0)])

    def _sorted(self, nodes: _Nodes, boxes: str, kept: str) -> None:
        """Writes the outputs; kept: (N, classes, A) scores of the objects, else 0."""
        scores, place = nodes.top(nodes.add("Flatten", [kept]), self.rows, "scores")
        real = nodes.add("Greater", [scores, nodes.floats(0)])
        each = nodes.ints(len(self.anchors))
        nodes.add("Where", [real, nodes.add("Div", [place, each]), nodes.ints(-1)], "classes")
        nodes.add("ReduceSum", [nodes.add("Cast", [real], to=INT64), nodes.ints([1])], "count", keepdims=0)
        rows = nodes.add("Unsqueeze", [nodes.add("Mod", [place, each]), nodes.ints([2])])
        rows = nodes.add("Concat", [rows] * 4, axis=2)
        turned = nodes.add("Gather", [boxes, nodes.ints([1, 0, 3, 2])], axis=2)
        found = nodes.add("GatherElements", [turned, rows], axis=1)
        nodes.add("Where", [nodes.add("Unsqueeze", [real, nodes.ints([2])]), found, nodes.floats(0)], "boxes")


class _Nodes:
    """The end of a graph, where nodes and constants are appended; those without a name are numbered."""

    def __init__(self, onnx: Any, graph: Any):
        self.onnx, self.graph, self.count = onnx, graph, 0

    def add(self, op: str, inputs: Sequence[str], output: str = "", **attributes: object) -> str:
        output = output or self._name()
        self.graph.node.append(self.onnx.helper.make_node(op, inputs, [output], name=f"post/{output}", **attributes))
        return output

    def top(self, values: str, k: int, output: str = "") -> tuple[str, str]:
        """(the k largest of the last axis, their places)."""
        outputs = output or self._name(), self._name()
        self.graph.node.append(self.onnx.helper.make_node("TopK", [values, self.ints([k])], outputs, name=f"post/{outputs[0]}"))
        return outputs

    def slice(self, values: str, start: int, stop: int, axis: int = 2) -> str:
        return self.add("Slice", [values, *(self.ints([one]) for one in (start, stop, axis))])

    def floats(self, values: Any) -> str:
        return self._constant(np.asarray(values, np.float32))

    def ints(self, values: Any) -> str:
        return self._constant(np.asarray(values, np.int64))

    def rename(self, names: dict[str, str]) -> None:
        """Gives values of the graph other names."""
        for node in self.graph.node:
            for field in (node.input, node.output):
                field[:] = [names.get(name, name) for name in field]

    def _constant(self, array: np.ndarray) -> str:
        name = self._name()
        self.graph.initializer.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def _name(self) -> str:
        self.count += 1
        return f"post/{self.count}"
