"""Predictions with intervals for any networks of a run's space, learned from its journal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.arch import Arch
from nas.arch.blocks import arch_id
from nas.arch.blockstrings import looks_like
from nas.arch.find import find_arch
from nas.core.settings import did_you_mean
from nas.core.text import aligned
from nas.estimates import RunModels, read_models
from nas.journal import Journal
from nas.records import JSON
from nas.report import Summary, summarize
from nas.report.format import is_fraction, label, show
from nas.space import Genome
from nas.workflows.arguments import ArchLike
from nas.workflows.run_folder import journal_folder, use_plugins
from nas.workflows.table import Table

Interval = tuple[float, float, float]  # value, and the ends of its 90 % interval: equal to it where exact, nan where unknown


@dataclass(frozen=True)
class Learning:
    """What predictions rest on.

    Args:
        trials: That the model of the main metric was learned from.
        failed: Trainings that did not end ok, and are left out.
        tau: Kendall's tau between predictions for trials that were held out and what these had; nan where it has no meaning.
        coverage: The fraction of the trials that lie in intervals made without them, where 0.9 is promised.
        form: Of the model, a key of `nas.surrogates.additive.FORMS`; empty where the metric is counted.
    """

    trials: int
    failed: int
    tau: float
    coverage: float
    form: str

    @classmethod
    def of(cls, models: RunModels) -> Learning:
        """What a run's models rest on."""
        if (learned := models.learned) is None:
            return cls(len(models.trials), models.failed, math.nan, math.nan, "")
        return cls(len(learned.model.y), models.failed, learned.model.tau, learned.model.coverage, learned.model.form)

    def __str__(self) -> str:
        failed = f" ({self.failed} failed and left out)" if self.failed else ""
        if not self.form:
            return f"from {self.trials} trials{failed}"
        tau = "" if math.isnan(self.tau) else f"tau {self.tau:.2f}, "
        return f"from {self.trials} trials{failed}; of those held out: {tau}90 % intervals hold {100 * self.coverage:.0f} %"


@dataclass(frozen=True)
class Estimate:
    """A network and what the run's models say of it.

    Args:
        name: How it was asked for.
        id: Of the architecture.
        arch: The architecture, as fitted to the run's images.
        trial: The run's trial of this network; None where it was not tried.
        predicted: Value, low and high end of the 90 % interval by metric.
        observed: What the trial had by metric.
    """

    name: str
    id: str
    arch: Arch
    trial: int | None
    predicted: Mapping[str, Interval]
    observed: Mapping[str, float]

    def to_dict(self) -> dict[str, JSON]:
        """Plain data for JSON; nan is null."""
        return {"name": self.name, "id": self.id, "trial": self.trial, "predicted": plain_intervals(self.predicted),
                "observed": dict(self.observed)}  # fmt: skip


@dataclass(frozen=True)
class Estimates(Sequence[Estimate]):
    """The networks in the order in which they were asked for, and what their predictions rest on."""

    networks: tuple[Estimate, ...]
    learning: Learning

    def __getitem__(self, index: int) -> Estimate:  # type: ignore[override]
        return self.networks[index]

    def __len__(self) -> int:
        return len(self.networks)

    def __iter__(self) -> Iterator[Estimate]:
        return iter(self.networks)

    @property
    def table(self) -> Table:
        """A row a network: each metric, and the ends of its interval."""
        return Table(tuple({"name": one.name, "id": one.id, "trial": one.trial, **flat_intervals(one.predicted)} for one in self))

    def to_dict(self) -> dict[str, JSON]:
        """Plain data for JSON; nan is null."""
        return {"networks": [one.to_dict() for one in self], **plain_learning(self.learning)}

    def __str__(self) -> str:
        if not self.networks:
            return str(self.learning)
        names, main = list(self[0].predicted), next(iter(self[0].predicted))
        tried = any(one.observed for one in self)
        head = ["", *(label(name) for name in names), *([f"{label(main)} of its trial"] if tried else [])]
        rows = [
            [one.name, *(shown_interval(name, one.predicted[name]) for name in names),
             *([show(main, one.observed.get(main, math.nan), "-")] if tried else [])]
            for one in self
        ]  # fmt: skip
        return f"{aligned([head, *rows])}\n{self.learning}"

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


def estimate(run: str | Path, archs: Sequence[ArchLike | int]) -> Estimates:
    """Predicts networks from the journal of a run.

    Args:
        run: The folder of the run.
        archs: For each a file, a name, block strings, content, an `Arch`, the number or id of a trial, `front` or `best`.

    Raises:
        ValueError: There is no run, it has too few trials, or a network is not of its space; one line says what does not fit.
    """
    with asked_run(run) as (models, summary):
        found = [one for arch in archs for one in _networks(arch, models, summary)]
        rows = np.array([genome for _, genome in found], np.int64).reshape(len(found), len(models.space.genes))
        predicted = {name: quantity.predict(rows) for name, quantity in models.quantities.items()} if found else {}
        trials = {trial.arch_id: trial for trial in reversed(models.trials)}
        networks = []
        for i, (name, genome) in enumerate(found):
            arch = models.space.decode(genome)
            trial = trials.get(key := arch_id(arch))
            values = {metric: (float(p.value[i]), float(p.low[i]), float(p.high[i])) for metric, p in predicted.items()}
            networks.append(Estimate(name, key, arch, trial.number if trial else None, values, dict(trial.metrics) if trial else {}))
        return Estimates(tuple(networks), Learning.of(models))


@contextmanager
def asked_run(run: str | Path) -> Iterator[tuple[RunModels, Summary]]:
    """The models and the summary of a run, whose journal is read only. Raises ValueError where there is none, or too few trials."""
    with Journal.open(journal_folder(str(run)) / "journal.sqlite", read_only=True) as journal:
        use_plugins((journal.get("settings") or {}).get("plugins") or ())
        summary = summarize(journal)
        yield read_models(journal, summary.objectives), summary


def _networks(asked: ArchLike | int, models: RunModels, summary: Summary) -> Iterator[tuple[str, Genome]]:
    """(name, genome) of each network that an argument stands for."""
    genomes = {trial.number: trial.genome for trial in models.trials}
    if isinstance(asked, str) and "," in asked and not looks_like(asked):
        for one in asked.split(","):
            yield from _networks(one.strip(), models, summary)
    elif asked == "front":
        yield from ((row.title, genomes[row.number]) for row in summary.front if row.number in genomes)
    elif asked == "best":
        if summary.best is None or summary.best.number not in genomes:
            raise ValueError("arch: the run has no best network yet")
        yield f"best, {summary.best.title}", genomes[summary.best.number]
    elif isinstance(asked, int) or (isinstance(asked, str) and asked.isdecimal() and len(asked) < 12):
        if int(asked) not in genomes:
            raise ValueError(f"arch: trial {asked} has no result of the highest fidelity{did_you_mean(asked, genomes)}")
        yield f"trial {asked}", genomes[int(asked)]
    else:
        known = {trial.arch_id: trial.genome for trial in models.trials}
        if isinstance(asked, str) and asked in known:
            yield asked, known[asked]
            return
        arch = find_arch(asked, "arch")
        try:
            yield str(asked) if isinstance(asked, str | Path) else arch.name, models.space.encode(arch)
        except ValueError as error:
            raise ValueError(f"arch: {error}") from None


def shown_interval(name: str, interval: Interval) -> str:
    """`93.10 % (91.2 to 94.9)`; the value alone where it is exact or nothing is known of its error."""
    value, low, high = interval
    if math.isnan(low) or low == high:
        return show(name, value)
    if is_fraction(name):
        return f"{show(name, value)} ({100 * low:.1f} to {100 * high:.1f})"
    return f"{show(name, value)} ({show(name, low).removesuffix(' ms')} to {show(name, high).removesuffix(' ms')})"


def plain_intervals(predicted: Mapping[str, Interval]) -> dict[str, JSON]:
    """`{metric: {"value": .., "low": .., "high": ..}}`; nan is null."""
    return {
        name: {key: _finite(number) for key, number in zip(("value", "low", "high"), interval, strict=True)}
        for name, interval in predicted.items()
    }


def flat_intervals(predicted: Mapping[str, Interval]) -> dict[str, float]:
    """A key each for value, low and high end of every metric."""
    return {
        f"{name}{end}": number
        for name, interval in predicted.items()
        for end, number in zip(("", " low", " high"), interval, strict=True)
    }


def plain_learning(learning: Learning) -> dict[str, JSON]:
    """Plain data for JSON; nan is null."""
    return {"trials": learning.trials, "failed": learning.failed, "tau": _finite(learning.tau),
            "coverage": _finite(learning.coverage), "form": learning.form}  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
