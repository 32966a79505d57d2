"""What an evaluator is: jobs in, outcomes out; whatever goes wrong with a candidate becomes a typed outcome."""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from nas.arch import Arch
from nas.core.accelerators import training_backend
from nas.core.plugins import place
from nas.data import Dataset, load_dataset
from nas.data.record import KEY, record_from
from nas.data.split import subset
from nas.objectives.objectives import Direction
from nas.problem import CostsOf
from nas.recipe import Recipe
from nas.records import JSON, DiskFullError, Fidelity, Job, Outcome, Report
from nas.space import Space
from nas.tasks import Task

if TYPE_CHECKING:
    from nas.convert.fill import Imported
    from nas.train import Checkpoints

CHECKPOINT_PAUSE_S = 20.0  # a trial that takes less is run again from its start


@dataclass(frozen=True)
class Context:
    """What evaluators share in a worker: the resolved settings, the folder for files, the space, the dataset (read once)."""

    settings: Mapping[str, Any]
    storage: Path
    worker: str = ""
    space: Mapping[str, Any] = field(default_factory=dict)  # as `Space.to_dict` gives it
    loaded: Dataset | None = None
    devices: int = 1  # accelerators that share each batch of a training

    @cached_property
    def dataset(self) -> Dataset:
        """The images of the run, normalized as its record says. Raises ValueError where they are others now."""
        found = self.loaded or load_dataset(self.settings["dataset"])
        kept = self.settings.get(KEY)
        return found if kept is None else record_from(kept).same(found)

    def weights(self, number: int) -> Path:
        """Where the weights of a trial are kept."""
        return self.storage / "checkpoints" / f"trial-{number:06d}.npz"

    def prepared(self, number: int) -> Path:
        """The folder of a job of the preparation, for its result and its checkpoints; the run keeps it."""
        folder = self.storage / "preparation" / f"{number:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def checkpoints(self, number: int, last: bool = False, kind: str = "") -> Checkpoints:
        """Checkpoints of a trial's training, from which it resumes; `last`: also the last, for a longer training.

        `kind` distinguishes trainings of a trial on other data.
        """
        from nas.train import Checkpoints

        folder = self.weights(number).with_suffix("")
        return Checkpoints(folder.with_name(folder.name + kind), keep=1, pause_s=CHECKPOINT_PAUSE_S, last=last)

    def dataset_at(self, fidelity: Fidelity) -> Dataset:
        """The dataset of a fidelity: fewer training images, the classes in proportion, or another size."""
        key = (fidelity.fraction, fidelity.resolution)
        if key not in self._fidelities:
            found = self.dataset
            if fidelity.resolution not in (None, found.resolution):
                found = load_dataset({**self.settings["dataset"], "resolution": fidelity.resolution})
            if fidelity.fraction < 1:
                count = max(round(fidelity.fraction * len(found.train)), 1)
                rows = subset(found.train.strata, np.arange(len(found.train)), count, (0,))
                found = dataclasses.replace(found, train=found.train.take(rows))
            self._fidelities[key] = found
        return self._fidelities[key]

    @cached_property
    def _fidelities(self) -> dict[tuple[float, int | None], Dataset]:
        return {}


@dataclass(frozen=True)
class Capabilities:
    """What an evaluator can do, so that a search is checked before anything starts.

    Args:
        needs_dataset: Whether it looks at images; otherwise no dataset is read and spaces keep their own sizes.
        fidelities: Whether it trains on fidelities: for so many epochs, on a fraction of the images, at another resolution.
        inherits_weights: Whether a job may start from the weights of another network, as `nas adapt` needs it.
        group: How many trainings it takes at a time at most; of other jobs one.
        tasks: Names of the tasks whose networks it evaluates; empty: all.
        inspects: Whether it answers `inspect` jobs: what the network of a trial answers on the validation split, from its
            weights, as `nas.evaluators.inspection` gives it.
        tests: Whether it answers `test` jobs: the front's networks on a test split, which no other decision has used. Without
            it no test score is asked for, and none is shown.
        further: Whether it answers `further` jobs: a member of the front trained from its own part of shared weights, or from
            initial values (`Further`).
        parts: Whether it follows what a recipe says of parts of a network: `freeze`, `freeze_epochs` and `lr_scale`.
        teachers: Whether a job may name a network to learn from.
        several_devices: Whether its trainings can share each batch among the accelerators of a worker.
        compiles_ahead: Whether it compiles for one job while it trains another (`CompilesAhead`).
        ends_early: Whether it follows `patience` of a recipe.
        fixed_networks: Whether it knows networks only at the resolution and the widths that the space states.
        metrics: What its outcomes hold beside the metrics of the task, and the direction that is better. They can be
            objectives and constraints of a search.
    """

    needs_dataset: bool = True
    fidelities: bool = False
    inherits_weights: bool = False
    group: int = 1
    tasks: tuple[str, ...] = ()
    inspects: bool = False
    tests: bool = False
    further: bool = False
    parts: bool = False
    teachers: bool = False
    several_devices: bool = False
    compiles_ahead: bool = False
    ends_early: bool = True
    fixed_networks: bool = False
    metrics: Mapping[str, Direction] = field(default_factory=dict)

    def check_task(self, task: Task) -> None:
        """Raises ValueError where networks of the task cannot be evaluated."""
        if self.tasks and task.name not in self.tasks:
            raise ValueError(f"evaluator: evaluates {' and '.join(self.tasks)}, the heads of this space are for {task.name}")

    def check_workers(self, devices: int, ahead: bool, name: object) -> None:
        """Raises ValueError where the evaluator of this name cannot do what its workers are asked to.

        devices: accelerators that share each batch. ahead: whether they compile the next trial while one trains.
        """
        if ahead and not self.compiles_ahead:
            raise ValueError(f"executor.ahead: evaluator={name} compiles nothing ahead; leave it out, or take evaluator=scratch")
        if devices > 1 and not self.several_devices:
            raise ValueError(f"executor: evaluator={name} trains on one accelerator, got {devices} a worker; take evaluator=scratch")

    def check_recipe(self, recipe: Recipe, name: object, where: str = "recipe") -> None:
        """Raises ValueError for a setting of the recipe, at a place, that the evaluator of this name would not follow."""
        for key in () if self.parts or not self.needs_dataset else ("freeze", "lr_scale", "fixed_norms"):
            if getattr(recipe, key):
                raise ValueError(f"{where}.{key}: evaluator={name} trains all parts of a network alike; take evaluator=scratch")
        if recipe.patience and not self.ends_early:
            raise ValueError(f"{where}.patience: evaluator={name} ends no training early; leave it at 0, got {recipe.patience}")


@dataclass(frozen=True)
class Further:
    """What a `further` job carries in `data`: a training of a member of the front after the search.

    Args:
        what: `finetuned`, from the weights that it was scored with, or `scratch`, from initial values; the folder in the storage.
        epochs: Of the training.
        lr: Its highest learning rate; None: the recipe's.
        distill: Whether the largest network, with the shared weights, teaches it.
    """

    what: Literal["finetuned", "scratch"]
    epochs: int
    lr: float | None = None
    distill: bool = False

    def folder(self, storage: Path, arch_id: str) -> Path:
        """Where the training leaves `weights.npz`, and its checkpoints while it runs."""
        return storage / self.what / arch_id

    def to_data(self) -> dict[str, JSON]:
        return {"further": dataclasses.asdict(self)}

    @classmethod
    def of(cls, data: Mapping[str, JSON]) -> Further:
        return cls(**data["further"])


class Evaluator(Protocol):
    """Turns jobs into outcomes, in order; at most as many at a time as the capabilities of its settings state."""

    def __call__(self, jobs: Sequence[Job], report: Report) -> Sequence[Outcome]: ...


@runtime_checkable
class CompilesAhead(Protocol):
    """An evaluator that can compile for a job while it runs another one."""

    def ahead(self, job: Job) -> None:
        """Begins to compile in a thread, and returns at once. Called from another thread than the evaluator's."""
        ...


@dataclass(frozen=True)
class Search:
    """What a search asks of its evaluator, for one that chooses among others.

    Args:
        space: Fitted to the dataset.
        trials: That it begins with.
        special: Whether trainings are of several fidelities, of parts of networks, or on several devices, or are compiled ahead.
        backend: What workers train on: `cpu`, `gpu`, `tpu`; empty: what there is.
    """

    space: Space
    trials: int
    special: bool = False
    backend: str = ""

    @property
    def platform(self) -> str:
        """The backend; looked up where it is not given."""
        return self.backend or training_backend().name


class EvaluatorSettings(Protocol):
    """A frozen settings dataclass that derives from this class; `make` returns the evaluator of a worker.

    Example:

        @dataclass(frozen=True)
        class Margin(EvaluatorSettings):
            capabilities: ClassVar = Capabilities(metrics={"margin": "max"})
            scale: float = 1.0

            def make(self, context: Context) -> Evaluator: ...
    """

    capabilities: ClassVar[Capabilities] = Capabilities()
    source: ClassVar[str] = "no dataset"  # what its results come from, where that is no dataset
    note: ClassVar[str] = ""  # what people must know of its results

    def timed(self) -> tuple[str, ...]:
        """Devices whose times it knows before any training, the main one first: costs of a search by `known`."""
        return ()

    def known(self) -> CostsOf:
        """Maps (n, genes) genomes to the times on those devices, (n,) milliseconds by metric name."""
        return _nothing

    def decided(self, search: Search) -> tuple[Mapping[str, JSON], str] | None:
        """The evaluator that stands for this one in a search, as its settings with their `name`, and a line for people; None: itself.

        It is asked once, before a run begins, and the run keeps the answer.
        """
        return None

    def trains_together(self) -> int:
        """How many trainings a worker takes at a time at most."""
        return max(self.capabilities.group, 1)

    def check(self, space: Space) -> None:
        """Raises ValueError naming what in the space (fitted to the dataset) cannot be evaluated."""

    @property
    def teaches(self) -> bool:
        """Whether the trainings that it prepares have a teacher, which a recipe may say how to follow."""
        return False

    def images_of(self) -> str | None:
        """Weights, as `weights=` of `nas train` has them, for which images are made ready; None: as the dataset says."""
        return None

    def begins(self, arch: Arch, seed: int) -> Imported | None:
        """The weights that the training of a candidate starts from; None: initial values.

        Raises ValueError where they are not of such a network.
        """
        return None

    def preparation(self, context: Context) -> Sequence[Job]:
        """Jobs that a search runs once, before the first trial, such as the training of a supernet.

        They are run by the evaluator, in workers. The search gives each its number, the kind `prepare` and a seed. What an
        outcome has as `data`, plain and small, such as the path of a file in `context.prepared(job.number)` and a digest of
        it, every job of a trial has in `job.prepared`. A job whose worker died runs again; one that failed ends the search.

        Args:
            context: Settings, storage and space, in the driver: this method only describes the jobs, and returns the same
                ones whenever it is called.
        """
        return ()

    def make(self, context: Context) -> Evaluator: ...


def _nothing(genomes: np.ndarray) -> dict[str, np.ndarray]:
    return {}


def guarded(job: Job, worker: str, work: Callable[[], Outcome]) -> Outcome:
    """Runs a job; an exception becomes the outcome it stands for."""
    try:
        return work()
    except Exception as error:
        return failed(job, worker, error)


def failed(job: Job, worker: str, error: Exception) -> Outcome:
    """The outcome of a job that raised; the traceback goes to the worker's log. Raises DiskFullError where a disk is full."""
    if any(os.strerror(code) in str(error) for code in (errno.ENOSPC, errno.EDQUOT)):
        raise DiskFullError(str(error)) from error
    logging.getLogger("nas").error("job %s %s of %s", job.kind, job.number, job.arch_id, exc_info=error)
    kind, text = classify(error)
    return Outcome(job.number, kind, text, worker=worker)


def classify(error: BaseException) -> tuple[str, str]:
    """(outcome, one line) of an exception that a candidate raised."""
    text = " ".join(str(error).split())[:500]
    name = type(error).__name__
    if name == "Diverged":
        return "nan", text
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text or "Out of memory" in text:
        return "oom", text or "out of memory"
    if name in ("XlaRuntimeError", "JaxRuntimeError"):
        return "compile_error", text
    return "error", (f"{name}: {text}" if text else name) + place(error)
