"""What `nas scale` runs in workers: the grid of coefficients, the members of a family, and their measurements."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nas.arch import Arch
from nas.arch.blocks import arch_id
from nas.core.versions import versions
from nas.core.yamlio import dump_yaml, write_text
from nas.cost import cost
from nas.data.record import DataRecord
from nas.journal import Journal
from nas.latency import make_device
from nas.records import JSON, Job, Measurement, Trial
from nas.report.front import unconfirmed
from nas.report.panel import duration
from nas.runtime.base import Executor
from nas.runtime.journaled import job_seed, run_journaled
from nas.space import Space
from nas.tasks import task_of
from nas.workflows.over_time import measure_over_time, not_confirmed
from nas.workflows.progress import Progress
from nas.workflows.scale import Coefficients, compound


class GridSettings(Protocol):
    """Whether coefficients are searched, and over which."""

    @property
    def search(self) -> bool: ...
    def coefficients(self) -> Sequence[Coefficients]: ...


class TrainingsSettings(Protocol):
    """What trainings need of a `ScaleCommand`."""

    @property
    def seed(self) -> int: ...
    @property
    def divisor(self) -> int: ...
    @property
    def timeout_s(self) -> float | None: ...
    @property
    def device(self) -> Mapping[str, JSON]: ...
    @property
    def dataset(self) -> Mapping[str, JSON]: ...
    @property
    def recipe(self) -> Mapping[str, JSON]: ...
    @property
    def grid(self) -> GridSettings: ...


@dataclass(frozen=True)
class Measured:
    """Measurements of members, by device and architecture id."""

    known: Mapping[str, Mapping[str, Measurement]]

    def columns(self, arch: Arch) -> dict[str, float]:
        """Columns of the table; nan where a member could not be measured."""
        found = {device: ms.get(arch_id(arch)) for device, ms in self.known.items()}
        return {f"measured ms on {device}": m.latency_ms if m else float("nan") for device, m in found.items()}

    def record(self, arch: Arch) -> dict[str, dict[str, JSON]]:
        """Returns the measurements in a member's result.json, by device."""
        found = {device: ms[arch_id(arch)] for device, ms in self.known.items() if arch_id(arch) in ms}
        return {
            device: {
                "latency_ms": m.latency_ms, "p95_ms": m.p95_ms, "fingerprint": m.fingerprint, "not_confirmed": unconfirmed({device: m}),
            }
            for device, m in found.items()
        }


@dataclass(frozen=True)
class Trainings:
    """The trainings of one `nas scale`, numbered and journaled: the grid first, then the members. `command` is a ScaleCommand."""

    command: TrainingsSettings
    data: DataRecord
    folder: Path
    journal: Journal
    executor: Executor
    progress: Progress

    @property
    def seed(self) -> int:
        """One for all, so that members differ in their architecture alone."""
        return job_seed(self.command.seed, 0)

    def grid(self, arch: Arch, tried: Sequence[Coefficients]) -> Coefficients:
        """The coefficients whose member at phi 1 has the best primary metric on the validation split; the cheaper one of equals."""
        self.progress.message(f"{len(tried)} combinations of alpha, beta and gamma, each trained at phi 1 ...")
        expected = []
        for i, c in enumerate(tried):
            genome = (round(100 * c.alpha), round(100 * c.beta), round(100 * c.gamma))
            note = {"alpha": c.alpha, "beta": c.beta, "gamma": c.gamma}
            expected.append(self._trial(i, compound(arch, 1, c, divisor=self.command.divisor), genome, note))
        task = task_of(arch)
        done = [trial for trial in self._run(expected, task.primary) if trial.ok]
        if not done:
            raise ValueError("grid: none of the trainings succeeded; log.txt in the run's folder has the reasons")
        sign = 1 if task.metrics[task.primary] == "max" else -1
        best = max(done, key=lambda trial: (sign * trial.metrics[task.primary], -trial.metrics["macs"]))
        c = tried[best.number]
        self.progress.message(
            f"best: alpha {c.alpha:g}, beta {c.beta:g}, gamma {c.gamma:g} (product {c.product:.3f}), {best.metrics[task.primary]:.4f}"
        )
        return c

    def measure(self, archs: Sequence[Arch], placed: Mapping[str, Executor], space: Space | None) -> Measured:
        """Milliseconds of the members on each device, over time and with networks of the fit to `space` beside them.

        Where all are on record none is measured again; otherwise all are, as only together they compare without a fit.
        """
        plain = {arch_id(arch): arch.to_dict() for arch in archs}
        for device, settings in self.command.device.items():
            if space is not None and any(i not in self._known(device) for i in plain):
                timeout_s = make_device(settings, f"device.{device}").timeout_s
                measure_over_time(self.journal, placed[device], device, list(plain.items()), timeout_s, space, self.progress.message)
        for arch in archs:
            for line in not_confirmed(self.journal, arch_id(arch)):
                self.progress.message(f"{arch.name}: {line}")
        return Measured({device: self._known(device) for device in self.command.device})

    def _known(self, device: str) -> dict[str, Measurement]:
        return {measured.arch_id: measured for measured in self.journal.measurements() if measured.device == device}

    def members(self, archs: Sequence[Arch], measured: Measured) -> None:
        """Trains them; each gets a folder as `nas train` leaves it."""
        first = len(self.command.grid.coefficients()) if self.command.grid.search else 0
        known = {trial.arch_id: trial.number for trial in self.journal.trials() if trial.number >= first}
        expected = {}
        for arch in archs:
            number = known.setdefault(arch_id(arch), first + len(known))
            expected[number] = self._trial(number, arch, (number,), {"member": arch.name})
        trials = self._run([expected[number] for number in sorted(expected)], task_of(archs[0]).primary)
        trained = {trial.arch_id: trial for trial in trials}
        for arch in archs:
            trial = trained[arch_id(arch)]
            if trial.ok:
                self._leave(arch, trial, measured)

    def _leave(self, arch: Arch, trial: Trial, measured: Measured) -> None:
        member, task = self.folder / arch.name, task_of(arch)
        member.mkdir(exist_ok=True)
        write_text(member / "arch.yaml", dump_yaml(arch.to_dict()))
        record = {
            "arch": arch.name, "valid": {k: trial.metrics[k] for k in task.metrics if k in trial.metrics},
            "params": trial.metrics["params"], "macs": trial.metrics["macs"], "measured": measured.record(arch), "seed": self.seed,
            "recipe": dict(self.command.recipe), "dataset": dict(self.command.dataset), **self.data.plain(),
            "versions": versions(),
        }  # fmt: skip
        write_text(member / "result.json", json.dumps(record, indent=1) + "\n")
        weights = self.folder / "checkpoints" / f"trial-{trial.number:06d}.npz"
        if weights.exists():
            os.replace(weights, member / "weights.npz")
        self.progress.message(f"{arch.name}: validation {task.primary} {trial.metrics[task.primary]:.4f}, in {os.path.relpath(member)}")

    def _trial(self, number: int, arch: Arch, genome: tuple[int, ...], note: Mapping[str, JSON]) -> tuple[Trial, Job]:
        counted, found = cost(arch), arch_id(arch)
        trial = Trial(number, genome, found, note=note, metrics={"params": counted.params, "macs": counted.macs})
        return trial, Job(number, "train", arch.to_dict(), found, 0, self.seed)

    def _run(self, expected: Sequence[tuple[Trial, Job]], primary: str) -> list[Trial]:
        """Reports how each went, and how long the others may take."""
        numbers = {trial.number for trial, _ in expected}
        before = sum(trial.done for trial in self.journal.trials() if trial.number in numbers)
        began, done = time.monotonic(), 0

        def ended(trial: Trial) -> None:
            nonlocal done
            done += 1
            named = ", ".join(f"{k} {v:g}" if isinstance(v, float | int) else str(v) for k, v in trial.note.items())
            how = f"{primary} {trial.metrics[primary]:.4f}" if trial.ok else f"{trial.outcome}: {trial.error}"
            left = len(expected) - before - done
            more = f", about {duration(left * (time.monotonic() - began) / done)} left" if left else ""
            self.progress.message(f"{named}: {how} ({before + done} of {len(expected)}{more})")

        return run_journaled(self.journal, self.executor, expected, timeout_s=self.command.timeout_s, ended=ended)
