"""Reference networks of a fit: measured again beside others, they tell a machine that is slower now from a network that is slow."""

from __future__ import annotations

from collections.abc import Mapping

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.latency.predictors.layerwise.fitting import drawn
from nas.latency.predictors.layerwise.predictor import LayerwisePredictor
from nas.latency.predictors.learned.predictor import LearnedPredictor
from nas.records import JSON
from nas.space import Space


def references(kept: Mapping[str, JSON], space: Space) -> list[tuple[Arch, float]]:
    """Three networks that a predictor was fitted to, with their milliseconds: the fastest, the median and the slowest.

    Args:
        kept: `to_dict` of a predictor.
        space: The space that it was fitted for.

    Returns:
        The networks by rising latency; none of a predictor that was not fitted to networks.
    """
    found: list[tuple[Arch, float]] = []
    if kept.get("kind") == LearnedPredictor.kind:
        found = [(space.decode(tuple(genome)), float(ms)) for genome, ms in zip(kept["genomes"], kept["ms"], strict=True)]
    elif kept.get("kind") == LayerwisePredictor.kind:
        times = {network["arch_id"]: float(network["ms"]) for network in kept["networks"]}
        for arch in drawn(space, kept["seed"]):
            if times and (ms := times.pop(lower(arch).id, None)) is not None:
                found.append((arch, ms))
    found.sort(key=lambda pair: pair[1])
    chosen = dict.fromkeys((0, len(found) // 2, len(found) - 1)) if found else {}
    return [found[i] for i in chosen]


def networks_of(kept: Mapping[str, JSON]) -> int:
    """How many networks a predictor was fitted to."""
    return len(kept.get("networks") or kept.get("ms") or ())
