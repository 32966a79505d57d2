"""The models of a run, made from its journal alone: its space, its trials, and a source for each metric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nas.cost import METRICS, Costs
from nas.estimates.quantities import Counted, Learned, Quantity, Timed
from nas.journal import Journal
from nas.latency.predictors.base import Predictor
from nas.latency.predictors.loading import load_predictor
from nas.objectives import PREDICTED, Objectives, device_of, latest
from nas.records import Measurement, Trial, scored, trained
from nas.space import Space
from nas.surrogates.additive import Additive
from nas.surrogates.inputs import SpaceInputs

SPACE = "space/plain"  # the key of the journal that holds the space as plain data
LEAST = 5  # trials from which anything is learned


@dataclass(frozen=True)
class RunModels:
    """What is known of a run, and what its trials teach of the rest of its space.

    Attributes:
        trials: with a result of their own, of the highest fidelity; the models are learned from these.
        failed: how many trainings did not end ok, and are left out.
        predictors: the run's frozen latency predictors by metric.
        measured: relative errors of predictions for members that were measured, by metric.
    """

    space: Space
    objectives: Objectives
    trials: tuple[Trial, ...]
    failed: int
    predictors: Mapping[str, Predictor]
    measured: Mapping[str, np.ndarray]

    @cached_property
    def rows(self) -> np.ndarray:
        """(n, genes) genomes of the trials."""
        return self.space.arrays.canonical(np.array([trial.genome for trial in self.trials], np.int64))

    @cached_property
    def inputs(self) -> SpaceInputs:
        return SpaceInputs(self.space)

    @property
    def costs(self) -> Costs:
        return self.inputs.costs

    @property
    def main(self) -> str:
        """The metric that a run is first of all after."""
        return self.objectives.quality

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The main metric, the other objectives, and latencies on the run's devices."""
        seen = [name for name in self.trials[0].metrics if device_of(name) and name.startswith(f"{PREDICTED}/")]
        return tuple(dict.fromkeys([self.main, *self.objectives.columns, *seen, *self.predictors]))

    @cached_property
    def quantities(self) -> dict[str, Quantity]:
        """By name; fitted at the first access."""
        return {name: self._quantity(name) for name in self.names}

    def __getitem__(self, name: str) -> Quantity:
        return self.quantities[name]

    @property
    def learned(self) -> Learned | None:
        """The model of the main metric; None where it is counted."""
        found = self.quantities[self.main]
        return found if isinstance(found, Learned) else None

    def observed(self, name: str) -> np.ndarray:
        """(n,) what the trials had; nan where one lacks the metric."""
        return np.array([trial.metrics.get(name, math.nan) for trial in self.trials], float)

    def values(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What is known of genomes without any training: counted costs and predicted latencies, for constraints."""
        return {**self.costs(rows), **{name: one.predict_many(self.space, rows) for name, one in self.predictors.items()}}

    def _quantity(self, name: str) -> Quantity:
        if name in METRICS:
            return Counted(name, lambda rows: self.costs(rows)[name])
        if name in self.predictors:
            return Timed(name, self.space, self.predictors[name], self.measured.get(name, np.zeros(0)))
        y = self.observed(name)
        there = np.isfinite(y)
        if there.sum() < LEAST:
            raise ValueError(f"run: {there.sum()} trials have {name}; expected {LEAST} or more to learn from")
        logarithm = bool(device_of(name)) and bool((y[there] > 0).all())
        networks = np.unique([trial.arch_id for trial in self.trials], return_inverse=True)[1].reshape(-1)[there]
        model = Additive.fit(self.inputs(self.rows[there]), np.log(y[there]) if logarithm else y[there], networks)
        return Learned(name, self.inputs, model, logarithm)


def read_models(journal: Journal, objectives: Objectives) -> RunModels:
    """The models of a run.

    Args:
        journal: Of the run, finished or not.
        objectives: Of the run.

    Raises:
        ValueError: There are fewer than `LEAST` networks with a result, or the space cannot be made again.
    """
    trials = journal.trials()
    found = scored(trials)
    failed = sum(trained(trial) and trial.done and not trial.ok for trial in trials)
    if (count := len({trial.arch_id for trial in found})) < LEAST:
        also = f" ({failed} failed)" if failed else ""
        raise ValueError(f"run: {journal.path.parent.name} has {count} trained networks{also}; expected {LEAST} or more to learn from")
    space = read_space(journal)
    names = [name for name in found[0].metrics if name.startswith(f"{PREDICTED}/")]
    kept = {name: journal.get(f"predictor/{device_of(name)}") for name in names}
    predictors = {name: load_predictor(data, space, "run: predictor") for name, data in kept.items() if data}
    return RunModels(space, objectives, tuple(found), failed, predictors, _measured(found, journal.measurements(), predictors))


def read_space(journal: Journal) -> Space:
    """The space of a run, as fitted to its images. Raises ValueError where the journal has none, or its blocks are unknown."""
    plain = journal.get(SPACE)
    if plain is None:
        folder = journal.path.parent.name
        raise ValueError(f"run: the journal of {folder} has no space; the command that began the run adds it when it resumes")
    try:
        return Space.from_plain(plain)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{journal.path}: damaged: {SPACE}: {error}") from None


def _measured(trials: Sequence[Trial], measurements: Iterable[Measurement], names: Iterable[str]) -> dict[str, np.ndarray]:
    times, errors = latest(measurements), {name: list[float]() for name in names}
    for trial in trials:
        for name, found in errors.items():
            measured = times.get(trial.arch_id, {}).get(device_of(name))
            if measured is not None and trial.metrics.get(name, 0.0) > 0:
                found.append(measured.latency_ms / trial.metrics[name] - 1)
    return {name: np.array(found, float) for name, found in errors.items()}
