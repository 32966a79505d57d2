"""Neural architecture search: spaces in, a Pareto front of trained and measured architectures out.

    import nas

    result = nas.search("tiny", "digits", objectives={"accuracy": "max", "params": "min"}, trials=24, run="runs/demo")
    net = nas.train(result.best.arch, "digits", epochs=40)
    net.export("bundle", formats=["onnx", "tflite"])

Names are imported when they are used, so that `import nas` is quick and loads neither JAX, Ray nor Hydra.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from nas.core.version import __version__ as __version__

if TYPE_CHECKING:
    from nas.api.deploying import adapt as adapt
    from nas.api.deploying import profile as profile
    from nas.api.deploying import scale as scale
    from nas.api.estimating import estimate as estimate
    from nas.api.estimating import suggest as suggest
    from nas.api.explaining import explain as explain
    from nas.api.reading import cost as cost
    from nas.api.reading import load_arch as load_arch
    from nas.api.reading import load_space as load_space
    from nas.api.searching import load_run as load_run
    from nas.api.searching import report as report
    from nas.api.searching import search as search
    from nas.api.searching import supernet as supernet
    from nas.api.training import compare as compare
    from nas.api.training import evaluate as evaluate
    from nas.api.training import export as export
    from nas.api.training import look_up as look_up
    from nas.api.training import predict as predict
    from nas.api.training import train as train
    from nas.arch import Arch as Arch
    from nas.data import Dataset as Dataset
    from nas.recipe import Recipe as Recipe
    from nas.space import Space as Space
    from nas.tasks import Task as Task
    from nas.workflows.adapt.run import AdaptResult as AdaptResult
    from nas.workflows.estimate import Estimate as Estimate
    from nas.workflows.estimate import Estimates as Estimates
    from nas.workflows.explain import Explained as Explained
    from nas.workflows.explain import Explanation as Explanation
    from nas.workflows.export.run import Exported as Exported
    from nas.workflows.gallery import LookUp as LookUp
    from nas.workflows.predict import Prediction as Prediction
    from nas.workflows.profile_devices import Profiled as Profiled
    from nas.workflows.progress import Update as Update
    from nas.workflows.scale.run import ScaleResult as ScaleResult
    from nas.workflows.search.result import Candidate as Candidate
    from nas.workflows.search.result import SearchResult as SearchResult
    from nas.workflows.suggest import Suggestions as Suggestions
    from nas.workflows.supernet.run import SupernetResult as SupernetResult
    from nas.workflows.train import TrainResult as TrainResult

_PUBLIC = {
    "adapt": "nas.api.deploying",
    "compare": "nas.api.training",
    "cost": "nas.api.reading",
    "estimate": "nas.api.estimating",
    "evaluate": "nas.api.training",
    "explain": "nas.api.explaining",
    "export": "nas.api.training",
    "load_arch": "nas.api.reading",
    "load_run": "nas.api.searching",
    "load_space": "nas.api.reading",
    "look_up": "nas.api.training",
    "predict": "nas.api.training",
    "profile": "nas.api.deploying",
    "report": "nas.api.searching",
    "scale": "nas.api.deploying",
    "search": "nas.api.searching",
    "suggest": "nas.api.estimating",
    "supernet": "nas.api.searching",
    "train": "nas.api.training",
    "Arch": "nas.arch",
    "Candidate": "nas.workflows.search.result",
    "Dataset": "nas.data",
    "Estimate": "nas.workflows.estimate",
    "Estimates": "nas.workflows.estimate",
    "Explained": "nas.workflows.explain",
    "Explanation": "nas.workflows.explain",
    "Exported": "nas.workflows.export.run",
    "LookUp": "nas.workflows.gallery",
    "Prediction": "nas.workflows.predict",
    "Recipe": "nas.recipe",
    "Suggestions": "nas.workflows.suggest",
    "SearchResult": "nas.workflows.search.result",
    "AdaptResult": "nas.workflows.adapt.run",
    "Profiled": "nas.workflows.profile_devices",
    "ScaleResult": "nas.workflows.scale.run",
    "SupernetResult": "nas.workflows.supernet.run",
    "Task": "nas.tasks",
    "Space": "nas.space",
    "TrainResult": "nas.workflows.train",
    "Update": "nas.workflows.progress",
}
__all__ = ["__version__", *_PUBLIC]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    value: object = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """Keeps the function `nas.train` in its place when the package `nas.train` is imported, as for `cost` and `report`."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _PUBLIC and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
