"""A device profiled for a space: networks measured, each on record as it comes, a predictor fitted, its errors reported.

The networks held out are measured twice, at the beginning and, compiled again, at the end: the difference
between both is the machine's own repeatability, a floor that no predictor gets below.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nas.arch.blocks import lower
from nas.journal import Journal
from nas.latency import LearnedPredictor, fit_predictor, good_enough, next_to_measure
from nas.latency.predictors.learned.predictor import LEAST_NETWORKS
from nas.latency.profile import Drawn, Profile, Row, accuracy
from nas.records import JSON, Measurement
from nas.runtime.base import Executor
from nas.runtime.machines import Alike
from nas.runtime.measure import BATCH, about, measure_all
from nas.space import Space

Message = Callable[[str], object]
FIRST, AGAIN = "first", "again"
MOST = 1000  # networks that samples=auto measures at most


@dataclass
class _Work:
    """Measurements of one device in a journal, and the time of the session."""

    journal: Journal
    executor: Executor
    space: Space
    device: str
    fingerprint: str
    info: Mapping[str, JSON]
    timeout_s: float
    message: Message
    total: int
    failures: dict[str, str] = field(default_factory=dict)

    def records(self, turn: str) -> dict[str, Measurement]:
        """By architecture; a device or version that changed since makes a record foreign."""
        return {
            m.arch_id: m
            for m in self.journal.measurements()
            if m.device == self.device and m.fingerprint == self.fingerprint and m.info.get("turn") == turn
        }

    def measure(self, genomes: Mapping[str, Sequence[int]], turn: str, done_before: int) -> dict[str, Measurement]:
        known = self.records(turn)
        missing = [i for i in genomes if i not in known]

        def keep(measured: Measurement) -> None:
            self.journal.add_measurement(dataclasses.replace(measured, info={**measured.info, "turn": turn}))

        start, before = time.monotonic(), len(genomes) - len(missing)
        for at in range(0, len(missing), BATCH):
            batch = [(i, self.space.decode(tuple(genomes[i])).to_dict()) for i in missing[at : at + BATCH]]
            began = time.monotonic()
            measure_all(
                self.executor, self.device, batch, self.timeout_s,
                Alike(keep, self.failed, self.fingerprint, self.info), self.failed,
            )  # fmt: skip
            self.journal.add_event("measured", device=self.device, networks=len(batch), seconds=time.monotonic() - began)
            done = at + len(batch)
            each, left = (time.monotonic() - start) / done, self.total - done_before - before - done
            self.message(f"{self.device}: {self.total - left} of {self.total} measured, {_minutes(each * left)} left")
        return {i: m for i, m in self.records(turn).items() if i in genomes}

    def failed(self, arch_id: str, error: str) -> None:
        self.failures[arch_id] = error
        self.journal.add_event("measure_failed", device=self.device, arch_id=arch_id, error=error)
        self.message(f"{self.device}: not measured: {error}")


def profile_device(
    journal: Journal, executor: Executor, space: Space, device: str, drawn: Drawn, seed: int, timeout_s: float, message: Message,
    until: float | None = None,
) -> Profile:  # fmt: skip
    """Measures what the journal does not have yet, and fits; with `until`, more networks till the error is surely below it.

    Which these are follows from what was measured, so that a killed profile resumes with the same. Raises ValueError where
    too few networks could be measured.
    """
    fingerprint, info = about(executor, device, timeout_s)
    total = len(drawn.samples) + 2 * len(drawn.holdout)
    work = _Work(journal, executor, space, device, fingerprint, info, timeout_s, message, total)
    first = work.measure(drawn.holdout, FIRST, 0)
    samples = work.measure(drawn.samples, FIRST, len(drawn.holdout))
    chosen = dict(drawn.samples)
    if until is not None and len(samples) >= LEAST_NETWORKS:
        chosen, samples = _enough(work, chosen, samples, set(drawn.holdout), seed, until)
    if len(samples) < LEAST_NETWORKS:
        reason = next(iter(work.failures.values()), "nothing was measured")
        raise ValueError(f"device.{device}: {len(samples)} networks could be measured, expected {LEAST_NETWORKS} or more: {reason}")
    again = work.measure({i: g for i, g in drawn.holdout.items() if i in first}, AGAIN, work.total - len(first))
    seconds = spent(journal, device)
    genomes, times = [chosen[i] for i in samples], [m.latency_ms for m in samples.values()]
    message(f"{device}: fitting to {len(times)} networks ...")
    predictor = fit_predictor(space, genomes, times, device=device, fingerprint=fingerprint, info=info, seed=seed)
    rows = _rows(space, predictor, drawn, first, again)
    fresh = [row.again_ms for row in rows]
    predicted = accuracy([row.predicted_ms for row in rows], fresh)
    repeated = accuracy([row.first_ms for row in rows], fresh)
    return Profile(device, info, predictor, rows, len(times), seconds, predicted, repeated, work.failures)


def _enough(
    work: _Work, chosen: dict[str, tuple[int, ...]], samples: dict[str, Measurement], apart: set[str], seed: int, until: float
) -> tuple[dict[str, tuple[int, ...]], dict[str, Measurement]]:
    """Networks that take most uncertainty away, a few at a time, until the held-out error is surely below `until`."""
    while len(samples) < MOST:
        genomes, times = [chosen[i] for i in samples], [m.latency_ms for m in samples.values()]
        if good_enough(fit_predictor(work.space, genomes, times, seed=seed), until):
            break
        rng = np.random.default_rng([seed, len(chosen)])
        found = next_to_measure(work.space, genomes, times, rng, BATCH)
        new = {lower(work.space.decode(genome)).id: genome for genome in found}
        new = {i: genome for i, genome in new.items() if i not in apart and i not in chosen}
        if not new:
            break
        work.total += len(new)
        chosen = {**chosen, **new}
        samples = work.measure(chosen, FIRST, len(apart))
    return chosen, samples


def _rows(
    space: Space, predictor: LearnedPredictor, drawn: Drawn, first: Mapping[str, Measurement], again: Mapping[str, Measurement]
) -> tuple[Row, ...]:
    ids = [i for i in drawn.holdout if i in again]
    if not ids:
        return ()
    predicted = predictor.predict_many(space, [drawn.holdout[i] for i in ids]).tolist()
    return tuple(
        Row(i, ms, first[i].latency_ms, again[i].latency_ms, again[i].p95_ms) for i, ms in zip(ids, predicted, strict=True)
    )


def spent(journal: Journal, device: str) -> float:
    """Seconds that the batches of all sessions took, compiling and measuring."""
    return sum(float(e.data["seconds"]) for e in journal.events() if e.kind == "measured" and e.data["device"] == device)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{math.ceil(seconds / 60)} min"
