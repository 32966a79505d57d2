"""Candidates in, outcomes out. `EVALUATORS` maps names to settings whose `make(context)` gives the evaluator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.core.settings import named
from nas.evaluators.auto import AutoSettings
from nas.evaluators.base import Capabilities, Context, Evaluator, EvaluatorSettings, Further, Search
from nas.evaluators.batched import BatchedSettings
from nas.evaluators.layerwise import LayerwiseSettings
from nas.evaluators.scratch import ScratchSettings
from nas.evaluators.supernet import SupernetSettings
from nas.evaluators.switched import SwitchedSettings
from nas.evaluators.tabular import AccelNasbenchSettings, NasBenchMacroSettings, TabularSettings

EVALUATORS: dict[str, type[EvaluatorSettings]] = {
    "auto": AutoSettings,
    "scratch": ScratchSettings,
    "layerwise": LayerwiseSettings,
    "switched": SwitchedSettings,
    "batched": BatchedSettings,
    "supernet": SupernetSettings,
    "accel_nasbench": AccelNasbenchSettings,
    "nas_bench_macro": NasBenchMacroSettings,
}


def evaluator_settings(settings: Mapping[str, Any], where: str = "evaluator") -> EvaluatorSettings:
    """The checked settings of an evaluator. Raises ValueError naming an unknown key or name."""
    return named(EVALUATORS, settings, where)


__all__ = [
    "EVALUATORS",
    "Capabilities",
    "Context",
    "Evaluator",
    "EvaluatorSettings",
    "Further",
    "Search",
    "TabularSettings",
    "evaluator_settings",
]
