"""Candidates in, outcomes out. `EVALUATORS` maps names to settings whose `make(context)` gives the evaluator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.core.settings import named
from nas.evaluators.base import Context, Evaluator, EvaluatorSettings
from nas.evaluators.layerwise import LayerwiseSettings
from nas.evaluators.scratch import Scratch
from nas.evaluators.switched import Switched
from nas.evaluators.tabular import AccelNasbench, NasBenchMacro, TableSettings

EVALUATORS: dict[str, type] = {
    "scratch": Scratch,
    "layerwise": LayerwiseSettings,
    "switched": Switched,
    "accel_nasbench": AccelNasbench,
    "nas_bench_macro": NasBenchMacro,
}


def evaluator_settings(settings: Mapping[str, Any], where: str = "evaluator") -> EvaluatorSettings:
    """The checked settings of an evaluator. Raises ValueError naming an unknown key or name."""
    return named(EVALUATORS, settings, where)


__all__ = ["EVALUATORS", "Context", "Evaluator", "EvaluatorSettings", "Switched", "TableSettings", "evaluator_settings"]
