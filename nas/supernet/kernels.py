"""Smaller depthwise kernels from larger ones by learned matrices, which all channels of a layer share."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from nas.arch.graph import Node
from nas.nn.weights import AnyArray

MATRIX = "matrix"  # before the side of the kernel that it gives: the name of an array


def matrix_shapes(sizes: Collection[int]) -> dict[str, tuple[int, int]]:
    """Shapes of a layer's matrices by name, for kernels of these sides: one for each but the largest.

    Example:
        >>> matrix_shapes({3, 5, 7})
        {'matrix5': (25, 25), 'matrix3': (9, 9)}
    """
    return {f"{MATRIX}{side}": (side**2, side**2) for side in sorted(sizes, reverse=True)[1:]}


def identity(shape: tuple[int, ...]) -> np.ndarray:
    """A matrix before training: the smaller kernel is the center of the larger one."""
    return np.eye(shape[0], dtype=np.float32)


def materialized(arrays: Mapping[str, AnyArray], side: int) -> dict[str, AnyArray]:
    """The arrays of a depthwise convolution without its matrices, its kernel of this side.

    Args:
        arrays: `kernel` (k, k, 1, channels), `matrix<side>` (side^2, side^2) for smaller sides, maybe a bias.
        side: Of the kernel that the candidate has.

    Returns:
        The kernel is the center of the next larger one times its matrix, from size to size.

    Source:
        Once-for-all: Cai et al. 2020 (arXiv:1908.09791), section 3.3, and its published code.
    """
    kernel = arrays["kernel"]
    matrices = {int(name.removeprefix(MATRIX)): array for name, array in arrays.items() if name.startswith(MATRIX)}
    for smaller in sorted((one for one in matrices if one >= side), reverse=True):
        edge = (kernel.shape[0] - smaller) // 2
        center = kernel[edge : edge + smaller, edge : edge + smaller]
        kernel = (matrices[smaller] @ center.reshape(smaller**2, -1)).reshape(center.shape)
    out = {name: array for name, array in arrays.items() if not name.startswith(MATRIX)}
    out["kernel"] = kernel
    return out


def takes_matrices(node: Node, kernel: tuple[int, ...]) -> bool:
    """Whether a primitive with a kernel of this shape is a depthwise convolution with a square one."""
    return node.op == "conv" and node.attr["groups"] == node.shape[2] and kernel[2] == 1 and kernel[0] == kernel[1]
