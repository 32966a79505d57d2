"""Operations that are computed in one way on a CPU and in another elsewhere, chosen by the platform that a program is lowered for.

The backend of the process does not matter: a program may be lowered on a CPU for an accelerator, or exported for several
platforms at once. Unlike `lax.platform_dependent`, only the way that is chosen is traced, and no branch is left around it:
with branches a training step of MobileNetV3 took half as long again to trace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

# (operands) -> value, and (operands, gradient of the value) -> gradients of the operands
Way = tuple[Callable[..., Any], Callable[[tuple[jax.Array, ...], Any], tuple[jax.Array, ...]]]
Flat = Callable[..., Sequence[jax.Array]]
Implementation = Literal["auto", "portable", "lax", "slices", "native", "products"]  # as `nas.nn.ops` explains them

_primitive = Primitive("by_target")
_primitive.multiple_results = True


def autodiff(value: Callable[..., Any]) -> Way:
    """The way whose gradients JAX finds."""
    return value, lambda operands, g: jax.vjp(value, *operands)[1](g)


def differentiable(way: Way) -> Callable[..., Any]:
    """The value of a way as a function whose gradients are the way's."""
    function = jax.custom_vjp(way[0])
    function.defvjp(lambda *operands: (way[0](*operands), operands), way[1])
    return function


def chosen(implementation: Implementation, cpu: Way, other: Way, *operands: jax.Array) -> Any:
    """The value by one way or the other, or by the platform that the program is lowered for."""
    if implementation in ("auto", "portable", "products"):
        return by_target(cpu, other, jax.eval_shape(other[0], *operands), *operands)
    return (other if implementation == "lax" else cpu)[0](*operands)


def lowered_by_target(cpu: Callable[..., Any], other: Callable[..., Any], *operands: Any, like: Any = None) -> Any:
    """What `cpu` gives where the program is lowered for a CPU, and `other` elsewhere.

    Args:
        cpu, other: Functions of the operands; both give trees of arrays of equal shapes.
        operands: Trees of arrays.
        like: A tree of arrays of these shapes; None: found by tracing `other`.

    Returns:
        The tree of one of them.
    """
    leaves, tree = jax.tree.flatten(operands)
    shapes, out = jax.tree.flatten(jax.eval_shape(other, *operands) if like is None else like)

    def flat(way: Callable[..., Any]) -> Flat:
        return lambda *leaves: jax.tree.leaves(way(*jax.tree.unflatten(tree, leaves)))

    avals = tuple(ShapedArray(shape.shape, shape.dtype) for shape in shapes)
    return jax.tree.unflatten(out, _primitive.bind(*map(jnp.asarray, leaves), cpu=flat(cpu), other=flat(other), avals=avals))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def by_target(cpu: Way, other: Way, like: Any, *operands: Any) -> Any:
    """The value by the way of the platform that the program is lowered for, of the shape of `like`; gradients likewise."""
    return lowered_by_target(cpu[0], other[0], *operands, like=like)


def _forward(cpu: Way, other: Way, like: Any, *operands: Any) -> tuple[Any, tuple[Any, ...]]:
    return by_target(cpu, other, like, *operands), operands


def _backward(cpu: Way, other: Way, like: Any, operands: tuple[Any, ...], g: Any) -> tuple[Any, ...]:
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), operands)
    return by_target(autodiff(cpu[1]), autodiff(other[1]), shapes, operands, g)


by_target.defvjp(_forward, _backward)


def _run(*leaves: jax.Array, cpu: Flat, other: Flat, avals: object) -> Sequence[jax.Array]:
    """Outside a compiled program: by where the arrays are."""
    return (cpu if all(device.platform == "cpu" for device in leaves[0].devices()) else other)(*leaves)


def _batched(leaves: Sequence[jax.Array], axes: Sequence[int | None], *, cpu: Flat, other: Flat, avals: Any) -> Any:
    size = next(leaf.shape[axis] for leaf, axis in zip(leaves, axes, strict=True) if axis is not None)
    many = tuple(ShapedArray((size, *aval.shape), aval.dtype) for aval in avals)
    cpu, other = (jax.vmap(way, tuple(axes)) for way in (cpu, other))
    return _primitive.bind(*leaves, cpu=cpu, other=other, avals=many), (0,) * len(many)


_primitive.def_impl(_run)
_primitive.def_abstract_eval(lambda *_, cpu, other, avals: avals)
batching.primitive_batchers[_primitive] = _batched
mlir.register_lowering(_primitive, mlir.lower_fun(lambda *x, cpu, other, avals: cpu(*x), True), platform="cpu")
mlir.register_lowering(_primitive, mlir.lower_fun(lambda *x, cpu, other, avals: other(*x), True))
