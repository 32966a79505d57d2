"""Training one candidate: `fit` runs a recipe, `evaluate` scores a split.

Example:

    fitted = fit(arch, dataset, Recipe(epochs=5), seed=0)
    fitted.metrics["accuracy"], fitted.compile_s, fitted.train_s
"""

from nas.recipe import Recipe
from nas.train.checkpoint import Checkpoints
from nas.train.distill import Teacher, agreement
from nas.train.loop import Diverged, Fit, fit
from nas.train.parallel import DeviceMesh
from nas.train.score import evaluate

__all__ = ["Checkpoints", "DeviceMesh", "Diverged", "Fit", "Recipe", "Teacher", "agreement", "evaluate", "fit"]
