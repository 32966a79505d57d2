"""Predictors read from plain data, whatever kind they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nas.core.jsonio import parse_json
from nas.latency.predictors.base import Predictor
from nas.latency.predictors.layerwise.predictor import LayerwisePredictor
from nas.latency.predictors.learned.predictor import LearnedPredictor
from nas.latency.predictors.table import TablePredictor
from nas.records import JSON
from nas.space import Space


def read_predictor(path: str | Path, where: str) -> JSON:
    """The data of a predictor's file, for `load_predictor`. Raises ValueError, one line that begins with `where`."""
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{where}: {path}: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"{where}: {path}: no file of nas profile") from None


def load_predictor(data: object, space: Space, where: str = "predictor") -> Predictor:
    """Reads what `Predictor.to_dict` gave.

    Args:
        data: Plain data, as from a JSON file; nothing in it is trusted.
        space: The space whose networks are to be predicted.
        where: The place that errors name.

    Raises:
        ValueError: The data are damaged, stale (a learned predictor has other predictions when it is fitted again), or made
            for another space.
    """
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if isinstance(data, Mapping) and kind == LearnedPredictor.kind:
        saved = data.get("priors", [])
        priors = [load_predictor(prior, space, f"{where}.priors[{i}]") for i, prior in enumerate(saved)]
        return LearnedPredictor.from_dict(data, space, where, priors)
    if isinstance(data, Mapping) and kind == TablePredictor.kind:
        return TablePredictor.from_dict(data)
    return LayerwisePredictor.from_dict(data, where)
