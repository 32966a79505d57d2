"""A network as a .tflite file: StableHLO from JAX, turned by litert-converter, without TensorFlow.

    model = tflite_bytes(lower(arch), {"params": ..., "stats": ...})
    Path("net.tflite").write_bytes(model)

Input `images` is float32 (1, height, width, channels), output `logits` (1, classes) or (1, height, width, classes); several outputs
have the names that the head gives them. The converter is a compiler of its own
with another MLIR than JAX's, and ends the process on what it does not like: it runs in a process of its own. Needs the
packages of the extra `mobile`.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from nas.arch.graph import Graph
from nas.convert.fold import folded
from nas.convert.preprocess import OUTPUT, Preprocess
from nas.nn.weights import Variables

PROCESS = Path(__file__).with_name("tflite_process.py")


class ConversionError(ValueError):
    """A network that the converter refuses, or that ended it."""


def tflite_bytes(
    graph: Graph, variables: Variables, batch: int = 1, timeout_s: float = 600, inside: Preprocess | None = None
) -> bytes:
    """The model for `batch` images; with `inside` it takes uint8, and a classifier gives `probabilities`.

    Raises ConversionError with the converter's words, ValueError where it is missing."""
    if find_spec("litert_converter") is None:
        raise ValueError("tflite: needs the package litert-converter: pip install 'nas[mobile]'")
    only = OUTPUT if inside and inside.probabilities else "logits"
    outputs = sorted(graph.outputs) if graph.named else [only]  # as JAX puts the values of a dict
    command = [sys.executable, "-P", str(PROCESS), str(os.getpid()), *outputs]
    try:
        done = subprocess.run(
            command, input=stablehlo(graph, variables, batch, inside), capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConversionError(f"tflite: the converter took longer than {timeout_s:g} s") from None
    if done.returncode:
        raise ConversionError(f"tflite: {_reason(done.returncode, done.stderr)}")
    return done.stdout


def stablehlo(graph: Graph, variables: Variables, batch: int = 1, inside: Preprocess | None = None) -> bytes:
    """MLIR bytecode of inference on `batch` images, weights as constants, convolutions left whole."""
    import jax
    import jax.numpy as jnp

    from nas.nn.network import Outputs, apply

    deployed, arrays = folded(graph, variables)

    def infer(images: jax.Array) -> Outputs:
        return apply(deployed, arrays["params"], arrays["stats"], images, train=False, implementation="lax")[0]

    shape, dtype = (inside.shape, jnp.uint8) if inside else (graph.input_shape, jnp.float32)
    images = jax.ShapeDtypeStruct((batch, *shape), dtype)
    module = jax.jit(inside.around(infer) if inside else infer).trace(images).lower(lowering_platforms=("cpu",)).compiler_ir("stablehlo")
    assert module is not None
    out = io.BytesIO()
    module.operation.write_bytecode(out)
    return out.getvalue()


def _reason(code: int, stderr: bytes) -> str:
    """The converter's first complaint; its log lines begin with a letter for the level, or are LLVM's stack dumps."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    said = next((line for line in lines if "error:" in line.lower()), lines[-1] if lines else "nothing was said")
    ended = f"the converter ended with signal {-code}" if code < 0 else "the converter refused the network"
    return f"{ended}: {said[:200]}"
