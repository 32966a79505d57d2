"""The law of exports: every file format computes what the network does, whatever blocks it is made of."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.arch.blocks.lowering import lower_layer
from nas.arch.builder import Builder
from nas.arch.graph import Graph
from nas.convert import stablehlo_bytes
from nas.latency.devices.timed import typical_values
from nas.nn.weights import Variables
from nas.testing.blocks import SIDE, WIDTH, network_of
from nas.testing.require import require
from nas.workflows.export.formats import FORMATS, Trained, missing
from nas.workflows.export.loading import WEIGHTS
from nas.workflows.export.safetensors import flat, to_bytes

FORMS = ((1, "same"), (2, "torch"))  # strides and paddings that every block is tried with
IMAGES = 2
WRITERS = {"stablehlo": lambda trained: stablehlo_bytes(trained.graph, trained.variables, ("cpu",))}  # others do not run here
CLOSE = 1e-4  # of the standard deviation of a block's outputs, or of 1 where that is less


@dataclass(frozen=True)
class SideBySide:
    """Blocks of one image in one network, which is exported once: each has a place of its own in the outputs."""

    graph: Graph
    places: Mapping[str, slice]


def check_exports(blocks: Mapping[str, Mapping[str, Any]], formats: Sequence[str] | None = None) -> None:
    """Checks that exported blocks compute what they do here, with random weights and statistics, in the runtimes themselves.

    Args:
        blocks: By a name for messages: a block as a stage has it, such as `{"op": "mbconv", "width": 24, "expand": 3}`. Its input is
            (12, 12, 24). Each is tried at stride 1, and at stride 2 where it knows that.
        formats: Of stablehlo, source, onnx, tflite; None: those whose packages are installed.

    Raises:
        AssertionError: Naming the format and the blocks that differ.
        ValueError: For an unknown block or knob, or a format that refuses the network.

    Example:
        >>> from nas.testing import check_exports
        >>> check_exports({"mbconv": {"op": "mbconv", "width": 24, "expand": 3}}, ["source"])
    """
    together = side_by_side(blocks)
    values, images = typical_values(together.graph), np.random.default_rng(1).standard_normal((IMAGES, SIDE, SIDE, WIDTH), np.float32)
    trained = Trained("blocks", together.graph, values, (), (0.0,) * WIDTH, (1.0,) * WIDTH)
    ours = own(together.graph, values, images)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, WEIGHTS).write_bytes(to_bytes(flat(values)))  # which the source reads
        for name in [one for one in FORMATS if not missing(one)] if formats is None else formats:
            path = Path(folder, FORMATS[name].file)
            path.write_bytes(WRITERS.get(name, FORMATS[name].write)(trained))
            theirs = FORMATS[name].run(path, images)
            assert isinstance(theirs, np.ndarray), "blocks side by side have one output"
            _check_outputs(name, together.places, ours, theirs)


def own(graph: Graph, values: Variables, images: np.ndarray) -> np.ndarray:
    """(n, values) of the network in this process, by XLA's operations: native kernels are compared with these elsewhere."""
    import jax

    from nas.nn.network import apply

    return np.asarray(jax.jit(lambda x: apply(graph, values["params"], values["stats"], x, train=False, implementation="lax")[0])(images))


def _check_outputs(name: str, places: Mapping[str, slice], ours: np.ndarray, theirs: np.ndarray) -> None:
    """Raises AssertionError naming the blocks whose outputs, columns of (n, values), a format has otherwise."""
    require(theirs.shape == ours.shape, f"{name}: has as many outputs as the network", f"{theirs.shape} and {ours.shape}")
    wrong = []
    for block, place in places.items():
        difference, scale = float(np.abs(ours[:, place] - theirs[:, place]).max()), max(1.0, float(ours[:, place].std()))
        if not difference < CLOSE * scale:
            wrong.append(f"{block} by {difference:.2g}")
    require(not wrong, f"{name}: an exported block computes what the block does", ", ".join(wrong))


def side_by_side(blocks: Mapping[str, Mapping[str, Any]]) -> SideBySide:
    """All blocks, of one image each, in one graph."""
    g = Builder()
    image, outputs, places, end = g.input((SIDE, SIDE, WIDTH)), [], {}, 0
    for name, block in blocks.items():
        layer = network_of(block).stages[0].layers[0]
        for stride, padding in FORMS:
            g.scope, g.padding = f"{name}.{stride}", padding
            try:
                x = lower_layer(g, image, layer, stride, {}, name)
            except ValueError:
                if stride == 1:
                    raise
                continue  # a block that keeps the size
            outputs.append(g.flatten(x))
            places[f"{name} with stride {stride}"] = slice(end, end + g.width(outputs[-1]))
            end += g.width(outputs[-1])
    g.scope = "head"
    g.concat(outputs)
    return SideBySide(Graph(tuple(g.nodes)), places)
