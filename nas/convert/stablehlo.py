"""A network as StableHLO by jax.export: batch norm folded, the number of images free, for CPU, CUDA and TPU.

    data = stablehlo_bytes(lower(arch), {"params": ..., "stats": ...})
    jax.export.deserialize(bytearray(data)).call(images)            # images (n, h, w, c) float32 -> logits

The part for a CPU is in the fast portable form, slices and matrix products, and calls no native kernels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.arch.graph import Graph
from nas.convert.fold import folded
from nas.convert.preprocess import Preprocess
from nas.nn.weights import Variables

if TYPE_CHECKING:
    import jax

    from nas.nn.network import Outputs

PLATFORMS = ("cpu", "cuda", "tpu")


def stablehlo_bytes(
    graph: Graph, variables: Variables, platforms: tuple[str, ...] = PLATFORMS, inside: Preprocess | None = None
) -> bytes:
    """The serialized program; with `inside` it takes uint8 images, and a classifier gives probabilities.

    The part for one platform is the same whichever others stand beside it.
    """
    import jax
    import jax.numpy as jnp
    from jax import export

    from nas.nn.network import apply

    deployed, arrays = folded(graph, variables)

    def infer(images: jax.Array) -> Outputs:
        return apply(deployed, arrays["params"], arrays["stats"], images, train=False, implementation="portable")[0]

    (count,) = export.symbolic_shape("n")
    shape, dtype = (inside.shape, jnp.uint8) if inside else (graph.input_shape, jnp.float32)
    images = jax.ShapeDtypeStruct((count, *shape), dtype)
    return bytes(export.export(jax.jit(inside.around(infer) if inside else infer), platforms=platforms)(images).serialize())
