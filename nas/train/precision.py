"""What layers compute in where a recipe leaves it open: bfloat16 on accelerators, float32 on a CPU.

Weights, statistics of norms, what the optimizer keeps, and a network's outputs are float32 in both.
"""

from __future__ import annotations

from dataclasses import replace

import jax

from nas.recipe import Recipe

AUTO = "auto"


def with_dtype(recipe: Recipe) -> Recipe:
    """The recipe whose `dtype` is not `auto`, by the backend of this process."""
    return replace(recipe, dtype="float32" if jax.default_backend() == "cpu" else "bfloat16") if recipe.dtype == AUTO else recipe


def dtype_of(name: str) -> str:
    """The same for a name alone."""
    return with_dtype(Recipe()).dtype if name == AUTO else name
