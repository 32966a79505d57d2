"""The steps of NetAdapt, over a run's journal: proposals, short trainings in parallel, a choice; until the target is met.

Everything that is decided follows from the seed and from results on record, so a run that was killed repeats its choices from
the journal and continues; two runs of one seed take the same steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from nas.arch import Arch
from nas.arch.blocks import arch_id
from nas.cost import cost
from nas.journal import Journal
from nas.objectives import PREDICTED
from nas.records import JSON, Job, Trial
from nas.runtime.base import Executor
from nas.runtime.journaled import job_seed, run_journaled
from nas.tasks import task_of
from nas.workflows.adapt.pace import Pace, steps_left
from nas.workflows.adapt.proposals import KINDS, absolute, changes, within

HALVINGS = 3  # of a step that no single change can make


@dataclass(frozen=True)
class AdaptSettings:
    """step: fraction of the seed's latency that every proposal of the first step cuts at least; decay: of it, a step.

    choose: ratio, the largest change of accuracy per millisecond (MobileNetV3); accuracy, the highest (NetAdapt's first
    paper); loss, the smallest growth of the loss per millisecond, for few validation images. The loss decides between equals. kinds:
    what may shrink. together: changes that a step makes at once, each of so many parts of it; 1 in the papers. final_epochs: of the
    training that ends it, from the weights it arrived with (0: none). final_distill: whether the network that it began with teaches then.
    """

    step: float = 0.05
    decay: float = 1.0
    choose: Literal["ratio", "accuracy", "loss"] = "ratio"
    kinds: tuple[Literal["expansion", "bottleneck", "kernel", "se", "stage"], ...] = KINDS
    together: int = 1
    max_steps: int = 200
    final_epochs: int = 20
    final_distill: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.step < 1:
            raise ValueError(f"step: expected a fraction between 0 and 1, got {self.step}")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay: expected more than 0 and at most 1, got {self.decay}")
        if not self.kinds:
            raise ValueError(f"kinds: expected one or more of {', '.join(KINDS)}, stage")
        for key, low in (("together", 1), ("max_steps", 1), ("final_epochs", 0)):
            if getattr(self, key) < low:
                raise ValueError(f"{key}: expected {low} or more, got {getattr(self, key)}")


@dataclass(frozen=True)
class Point:
    """The network after a step; `number` is the trial whose weights it has, `change` what the step did.

    `score` is the primary metric of its task on the validation split, `loss` the loss there.
    """

    step: int
    number: int
    change: str
    arch: Arch
    score: float
    predicted_ms: float
    loss: float = 0.0

    def figures(self) -> dict[str, JSON]:
        counted = cost(self.arch)
        return {"step": self.step, "change": self.change, task_of(self.arch).primary: self.score, "predicted_ms": self.predicted_ms,
                "params": counted.params, "macs": counted.macs, "trial": self.number}  # fmt: skip


def ranked(points: Sequence[Point], last: Point, choose: str) -> list[Point]:
    """The proposals of a step from `last`, the best first. Few validation images make many equals; of those the loss decides."""
    task = task_of(last.arch)
    sign = 1 if task.metrics[task.primary] == "max" else -1

    def merit(point: Point) -> float:
        if choose == "accuracy":
            return sign * point.score
        gained = last.loss - point.loss if choose == "loss" else sign * (point.score - last.score)
        return gained / (last.predicted_ms - point.predicted_ms)

    return sorted(points, key=lambda point: (-merit(point), point.loss, point.number))


def better(before: Point, after: Point, choose: str) -> Point:
    """The one that validates better by what steps are chosen by; of equals `after`, which was trained longer."""
    task = task_of(after.arch)
    sign = 1 if task.metrics[task.primary] == "max" else -1
    lost = after.loss > before.loss if choose == "loss" else sign * after.score < sign * before.score
    return before if lost else after


def joined(
    names: Sequence[str], arch: Arch, settings: AdaptSettings, latency: Callable[[Arch], float], cut: float, most_ms: float
) -> tuple[Arch, list[str]]:
    """Changes made one after the other, each by its part of a step's cut, until `most_ms` is met; and the names of those made."""
    made: list[str] = []
    for name in names:
        now = latency(arch)
        if now <= most_ms:
            break
        change = next((one for one in changes(arch, settings.kinds) if one.name == name), None)
        smaller = change and within(change, latency, max(now - cut / settings.together, most_ms))
        if smaller:
            arch = smaller
            made.append(name)
    return arch, made


@dataclass
class Adapter:
    """One run. `latency` predicts ms on `device`; `weights(number)` is where a trial's weights are; `start` those of the seed network."""

    latency: Callable[[Arch], float]
    device: str
    journal: Journal
    executor: Executor
    settings: AdaptSettings
    seed: int
    weights: Callable[[int], Path]
    start: Path
    timeout_s: float | None = None
    message: Callable[[str], object] = lambda line: None
    path: list[Point] = field(default_factory=list)
    _next: int = 0

    @cached_property
    def pace(self) -> Pace:
        return Pace(self.message)

    def run(self, arch: Arch, target_ms: float) -> list[Point]:
        """The seed network and the network after every step, the last at most `target_ms`.

        Raises ValueError where nothing that may shrink brings it there, saying how far it came.
        """
        arch = absolute(arch)
        self.path = [self._first(arch)]
        self.message(
            f"seed: {task_of(arch).primary} {self.path[0].score:.4f}, "
            f"{self.path[0].predicted_ms:.4f} ms predicted, target {target_ms:.4f} ms"
        )
        cut = self.settings.step * self.path[0].predicted_ms
        while self.path[-1].predicted_ms > target_ms:
            if len(self.path) > self.settings.max_steps:
                raise ValueError(
                    f"max_steps: after {self.settings.max_steps} steps {self.path[-1].predicted_ms:.4f} ms, not {target_ms:.4f}"
                )
            self.path.append(self._step(self.path[-1], cut, target_ms))
            cut *= self.settings.decay
        return self.path

    def finish(self, recipe: Mapping[str, JSON]) -> Point:
        """The last network trained on from the weights it has, with another recipe; as it was, where it validates worse then."""
        last = self.path[-1]
        data: dict[str, JSON] = {"parent": last.arch.to_dict(), "weights": str(self.weights(last.number)), "recipe": dict(recipe)}
        if self.settings.final_distill:
            data["teacher"] = {"arch": self.path[0].arch.to_dict(), "weights": str(self.start)}
        note = {"step": last.step, "change": "final training"}
        (trial,) = self._run([self._trial(last.arch, (last.step, -1), note, "train", data)], progress=self.pace.final)
        if not trial.ok:
            raise ValueError(f"the final training ended with {trial.outcome}: {trial.error}")
        point = self._point(last.step, trial, "final training", last.arch)
        if (kept := better(last, point, self.settings.choose)) is last:
            self.weights(point.number).unlink(missing_ok=True)
            name, was, now = task_of(last.arch).primary, last.score, point.score
            if self.settings.choose == "loss":
                name, was, now = "loss", last.loss, point.loss
            self.message(f"final training: validation {name} {now:.4f} after it and {was:.4f} before; the network before it is kept")
        return kept

    def _first(self, arch: Arch) -> Point:
        data = {"weights": str(self.start)}
        (trial,) = self._run([self._trial(arch, (0, 0), {"step": 0, "change": "seed"}, "score", data)])
        if not trial.ok:
            raise ValueError(f"the seed network could not be scored, {trial.outcome}: {trial.error}")
        return self._point(0, trial, "seed", arch)

    def _point(self, step: int, trial: Trial, change: str, arch: Arch) -> Point:
        score, loss = trial.metrics[task_of(arch).primary], trial.metrics.get("loss", 0.0)
        return Point(step, trial.number, change, arch, score, self.latency(arch), loss)

    def _step(self, last: Point, cut: float, target_ms: float) -> Point:
        step = last.step + 1
        proposals = self._proposals(last, cut / self.settings.together, target_ms)
        data = {"parent": last.arch.to_dict(), "weights": str(self.weights(last.number))}
        expected = [
            self._trial(arch, (step, i), {"step": step, "change": name}, "train", data)
            for i, (name, arch) in enumerate(proposals)
        ]
        left = max(steps_left([point.predicted_ms for point in self.path], cut, target_ms) - 1, 0)
        trials = self._run(expected, self._counted(step, expected, left))
        points = [
            self._point(step, trial, name, arch)
            for trial, (name, arch) in zip(trials, proposals, strict=True)
            if trial.ok
        ]
        if not points:
            raise ValueError(
                f"step {step}: none of {len(trials)} proposals could be trained; the first: {trials[0].error}"
            )
        failed = [(trial, name) for trial, (name, _) in zip(trials, proposals, strict=True) if not trial.ok]
        for trial, name in failed:
            self.message(f"step {step}: {name} could not be trained, {trial.outcome}: {trial.error}")
        best = self._joined(ranked(points, last, self.settings.choose), last, cut, target_ms, data)
        for trial in trials:
            if trial.number != best.number:
                self.weights(trial.number).unlink(missing_ok=True)
        after = steps_left([*(point.predicted_ms for point in self.path), best.predicted_ms], cut, target_ms)
        self.message(
            f"step {step}: {best.change}: {task_of(best.arch).primary} {best.score:.4f}, {best.predicted_ms:.4f} ms "
            f"({len(points)} proposal{'s' * (len(points) != 1)}){self.pace.stepped(len(trials), after)}"
        )
        return best

    def _joined(self, points: Sequence[Point], last: Point, cut: float, target_ms: float, data: Mapping[str, JSON]) -> Point:
        """The best proposal, or the network with as many of the best ones made together as the step needs, trained."""
        if self.settings.together == 1:
            return points[0]
        arch, names = joined(
            [point.change for point in points], last.arch, self.settings, self.latency, cut, max(last.predicted_ms - cut, target_ms)
        )
        step, change = last.step + 1, " and ".join(names)
        note = {"step": step, "change": change}
        (trial,) = self._run([self._trial(arch, (step, -2), note, "train", data)])
        if not trial.ok:
            raise ValueError(f"step {step}: {change} could not be trained together, {trial.outcome}: {trial.error}")
        return self._point(step, trial, change, arch)

    def _counted(self, step: int, expected: Sequence[tuple[Trial, Job]], after: int) -> Callable[[Trial], None]:
        """Hears of the trainings of a step that are not on record yet."""
        numbers = {trial.number for trial, _ in expected}
        done = sum(trial.done for trial in self.journal.trials() if trial.number in numbers)

        def ended(trial: Trial) -> None:
            nonlocal done
            done += 1
            self.pace.trained(step, done, len(expected), after)

        return ended

    def _proposals(self, last: Point, cut: float, target_ms: float) -> list[tuple[str, Arch]]:
        """One for each thing that can shrink enough: the largest that cuts the step, or what is left to the target."""
        for attempt in range(HALVINGS + 1):
            most = max(last.predicted_ms - cut / 2**attempt, target_ms)
            found = ((c.name, within(c, self.latency, most)) for c in changes(last.arch, self.settings.kinds))
            kept = [(name, arch) for name, arch in found if arch is not None and self.latency(arch) < last.predicted_ms]
            if kept:
                return kept
        raise ValueError(
            f"target_ms: nothing left to shrink makes the network faster than {last.predicted_ms:.4f} ms (expected {target_ms:.4f}); "
            f"reached after {last.step} steps"
        )

    def _trial(self, arch: Arch, genome: tuple[int, ...], note: Mapping[str, JSON], kind: str,
               data: Mapping[str, JSON]) -> tuple[Trial, Job]:  # fmt: skip
        number, counted, found = self._next, cost(arch), arch_id(arch)
        self._next += 1
        metrics = {"params": counted.params, "macs": counted.macs, f"{PREDICTED}/{self.device}": self.latency(arch)}
        trial = Trial(number, genome, found, note=note, metrics=metrics)
        return trial, Job(number, kind, arch.to_dict(), found, 0, job_seed(self.seed, number), data)

    def _run(
        self, expected: list[tuple[Trial, Job]], ended: Callable[[Trial], None] = lambda trial: None,
        progress: Callable[[int, int], None] = lambda step, steps: None,
    ) -> list[Trial]:  # fmt: skip
        return run_journaled(self.journal, self.executor, expected, timeout_s=self.timeout_s, ended=ended, progress=progress)
