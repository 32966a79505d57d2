"""Runs that differ in their seed alone, as one: means and standard deviations."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas.records import JSON
from nas.report.format import HYPERVOLUME, show
from nas.report.summary import Summary
from nas.report.tables import flat, word

NOT_COMPARED = ("seed", "run", "storage", "track", "plugins", "executor", "trials")  # what does not change what is searched
REWARD = "best reward"


@dataclass(frozen=True)
class Group:
    """Runs of equal settings: what tells them from others, how many, and (mean, standard deviation) by figure, nan for none."""

    name: str
    runs: int
    figures: Mapping[str, tuple[float, float]]
    members: tuple[str, ...] = ()  # names of the runs

    def to_dict(self) -> dict[str, JSON]:
        """Plain data; a mean or standard deviation that there is not is None."""
        figures = {
            name: {key: None if math.isnan(value) else value for key, value in zip(("mean", "std"), found, strict=True)}
            for name, found in self.figures.items()
        }
        return {"name": self.name, "runs": list(self.members), "figures": figures}


def groups_of(summaries: Mapping[str, Summary], hypervolume: Mapping[str, float]) -> list[Group]:
    """Groups of runs.

    Args:
        summaries: By the names of the runs.
        hypervolume: By the same names, in one box; empty where the runs share no objectives.

    Returns:
        A group for each set of equal settings, in order of its first run.
    """
    settings = {
        name: {key: word(value) for key, value in flat(s.settings) if key.partition(".")[0] not in NOT_COMPARED}
        for name, s in summaries.items()
    }
    alike: defaultdict[tuple[tuple[str, str], ...], list[str]] = defaultdict(list)
    for name, given in settings.items():
        alike[tuple(sorted(given.items()))].append(name)
    keys = {key for given in settings.values() for key in given}
    differing = sorted(key for key in keys if len({given.get(key) for given in settings.values()}) > 1)
    named = [key for key in differing if key.endswith(".name")] or differing[:4]
    return [
        Group(
            ", ".join(f"{key.removesuffix('.name')}={dict(given).get(key, '-')}" for key in named) or "all runs",
            len(runs),
            _figures([summaries[run] for run in runs], [hypervolume.get(run, math.nan) for run in runs]),
            tuple(runs),
        )
        for given, runs in alike.items()
    ]


def _figures(runs: Sequence[Summary], hypervolume: Sequence[float]) -> dict[str, tuple[float, float]]:
    main = runs[0].objectives.quality
    tops = [run.front[0] if run.front else None for run in runs]
    columns = {
        main: [top.metrics[main] if top else math.nan for top in tops],
        runs[0].test_column: [top.test if top else math.nan for top in tops],
        REWARD: [run.best.reward if run.best else math.nan for run in runs],
        HYPERVOLUME: hypervolume,
    }
    return {name: _moments([value for value in values if not math.isnan(value)]) for name, values in columns.items()}


def _moments(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return math.nan, math.nan
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def mean_text(name: str, found: tuple[float, float], sign: str = "+-") -> str:
    """`71.24 % +- 0.31`; the mean alone for a single run."""
    mean, deviation = found
    shown = show(name, mean, "-")
    if math.isnan(deviation):
        return shown
    return f"{shown} {sign} {show(name, deviation).removesuffix(' %')}"
