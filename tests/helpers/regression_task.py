"""A task, its head and its data in one file: predict one number from an image, scored by the root of the mean squared error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.arch import Arch
from nas.arch.builder import Builder
from nas.data import Dataset, DatasetSettings
from nas.data.dataset import Part, assemble
from nas.objectives import Direction
from nas.recipe import Recipe
from nas.records import JSON, NUMBER
from nas.tasks import BaseTask, Means, MetricState, single


class Errors(Means):
    """The root of the mean of squared errors, and the mean of absolute errors."""

    def compute(self) -> dict[str, float]:
        means = super().compute()
        return {"rmse": math.sqrt(means["rmse"]), "mae": means["mae"]}


class Regression(BaseTask):
    """One number an image. Outputs are (n, 1)."""

    name = "regression"
    metrics: Mapping[str, Direction] = {"rmse": "min", "mae": "min"}  # the first is what networks are compared by
    heads = ("regressor",)
    kind = "number"

    def fit_head(self, arch: Arch, dataset: Dataset) -> Arch:
        return arch.with_io(classes=1)

    def loss(self, outputs: Any, targets: Any, valid: Any, recipe: Recipe) -> Mapping[str, Any]:
        return {"squared_error": (single(outputs)[:, 0] - targets) ** 2}

    def reduce(self, outputs: Any, targets: Any, valid: Any) -> Mapping[str, Any]:
        import jax.numpy as jnp

        errors = jnp.where(valid, single(outputs)[:, 0] - targets, 0)
        return {"rmse": (errors**2).sum(), "mae": jnp.abs(errors).sum()}

    def new_metrics(self, kept: JSON = None) -> MetricState:
        return Errors(("rmse", "mae"), **(kept or {}))

    def postprocess(self, outputs: Any) -> Mapping[str, np.ndarray]:
        return {"value": outputs[:, 0]}


def regressor(g: Builder, x: int, *, classes: int, width: int = 0, act: str = "relu") -> int:
    """[1x1 convolution, norm, activation], global pool, dense."""
    if width:
        x = g.conv_norm_act(x, width, 1, 1, act, "conv")
    return g.dense(g.flatten(g.global_pool(x)), classes, "value")


@dataclass(frozen=True)
class Ink(DatasetSettings):
    """How much ink the handwritten digits of scikit-learn have: the mean of their pixels, from 0 to 1."""

    def load(self) -> Dataset:
        from sklearn.datasets import load_digits

        inks, _ = load_digits(return_X_y=True)  # (1797, 64), from 0 to 16
        pixels = np.round(inks.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
        part = Part(inks.mean(1) / 16, lambda rows: pixels[rows], lambda row: f"digits[{row}]")
        return assemble("ink", self, {"train": part}, target=NUMBER)


TASKS = {"regression": Regression()}
HEADS = {"regressor": regressor}
DATASETS = {"ink": Ink}
