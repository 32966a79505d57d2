"""Scores each candidate with the weights that all candidates of its space share, trained once as the preparation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nas.arch import arch_from_dict
from nas.arch.blocks import lower
from nas.evaluators.base import CHECKPOINT_PAUSE_S, Context, Further, guarded
from nas.evaluators.scratch import ScratchEvaluator, ScratchSettings
from nas.nn.weights import HostVariables, load_weights, save_weights
from nas.records import JSON, UNPREPARED, Job, Outcome, Report
from nas.space import Genome, Space

if TYPE_CHECKING:
    from nas.supernet.file import SupernetFile
    from nas.supernet.scoring import Scorer, Scoring
    from nas.supernet.strategies import Strategy
    from nas.supernet.training import Supernet
    from nas.supernet.weights import SharedWeights
    from nas.train import Teacher

WITHIN_S = 60.0  # between checkpoints within an epoch, which may take long
ALONE = "alone"  # key of a job's data: the network is trained from initial values too, as `evaluator=scratch` does
INHERITED = "inherited_"  # before the metrics that such a network has with the shared weights


class Asked(Protocol):
    """What a worker needs of the settings."""

    @property
    def strategy(self) -> Mapping[str, JSON]: ...
    def made_strategy(self) -> Strategy: ...
    def scoring(self) -> Scoring: ...
    def net(self, context: Context) -> Supernet: ...
    def costs(self, space: Space) -> Callable[[Genome], float] | None: ...


class SupernetEvaluator:
    """Trains the shared weights (`prepare`), scores (`train`), tests and inspects with them; they are read once a worker."""

    def __init__(self, settings: Asked, context: Context):
        self._settings, self._context = settings, context
        self._shared: tuple[str, SupernetFile, dict[str, Any]] | None = None

    def __call__(self, jobs: Sequence[Job], report: Report) -> Sequence[Outcome]:
        work = {"prepare": self._prepare, "train": self._train, "test": self._test, "inspect": self._inspect,
                "further": self._further}  # fmt: skip
        return [guarded(job, self._context.worker, lambda job=job: work[job.kind](job, report)) for job in jobs]

    @cached_property
    def _net(self) -> Supernet:
        return self._settings.net(self._context)

    @cached_property
    def _scorer(self) -> Scorer:
        return self._net.scorer(self._settings.scoring())

    @cached_property
    def _alone(self) -> ScratchEvaluator:
        return ScratchEvaluator(ScratchSettings(keep_weights=False), self._context)

    def _prepare(self, job: Job, report: Report) -> Outcome:
        from nas.supernet.file import file_digest

        if "path" in job.data:
            return Outcome(job.number, "ok", data=dict(job.data), worker=self._context.worker)
        path = self._trained(job, report)
        return Outcome(job.number, "ok", data={"path": str(path), "digest": file_digest(path)}, worker=self._context.worker)

    def _trained(self, job: Job, report: Report) -> Path:
        """The file of the shared weights, trained now, or by a worker that died after it had written it."""
        from nas.supernet.file import FILE, record_of_supernet, save_supernet
        from nas.train import Checkpoints
        from nas.train.parallel import DeviceMesh

        folder, net = self._context.prepared(job.number), self._net
        kept = Checkpoints(folder / "checkpoints", keep=1, pause_s=CHECKPOINT_PAUSE_S, within_s=WITHIN_S)
        record = record_of_supernet(net.space, net.dataset, net.recipe, self._settings.strategy, job.seed) | {"start": dict(job.data)}
        if not _holds(folder / FILE, record):
            fit = net.fit(
                self._settings.made_strategy(), job.seed, checkpoint=kept, scoring=self._settings.scoring(), start=self._begun(job),
                cost=self._settings.costs(net.space), mesh=DeviceMesh(self._context.devices),
                report=lambda step, steps, metrics: report(job.number, step, steps, metrics),
            )  # fmt: skip
            chosen = net.chosen(self._settings.made_strategy(), fit)
            more = {"valid": fit.metrics, "train_s": fit.train_s, "curve": fit.curve, "chosen": chosen and list(chosen)}
            save_supernet(folder / FILE, fit.params, {**record, **more})
        kept.clear()
        return folder / FILE

    def _begun(self, job: Job) -> SharedWeights | None:
        """The weights with a trained network in its place, where the training starts from one."""
        if "start" not in job.data:
            return None
        from nas.supernet.start import starting_network
        from nas.supernet.weights import SharedWeights

        net, strategy = self._net, self._settings.made_strategy()
        network = starting_network(net.space, job.data["start"], 0)
        return SharedWeights.initial(net.paths, job.seed, strategy.zero_gamma).with_network(net.candidates.largest, network["params"])

    def _slots(self, job: Job) -> dict[str, Any]:
        """The shared arrays of the job's file, on the device. Raises `_Unprepared` where they are not what the run began with."""
        import jax

        from nas.supernet.file import file_digest, load_supernet
        from nas.supernet.weights import SharedWeights

        [made] = job.prepared
        if self._shared is None or self._shared[0] != made["digest"]:
            try:
                path = Path(made["path"])
                if file_digest(path) != made["digest"]:
                    raise ValueError(f"{path}: is not the file that the run began with; restore it, or take run=<another folder>")
                found = load_supernet(path)
                found.check(self._net.space, self._context.dataset)
                slots = SharedWeights.of(self._net.paths, {"params": found.params}).slots
            except ValueError as error:
                raise _UnpreparedError(f"evaluator: {error}") from None
            self._shared = made["digest"], found, jax.device_put(dict(slots))
        return self._shared[2]

    def _train(self, job: Job, report: Report) -> Outcome:
        try:
            slots = self._slots(job)
        except _UnpreparedError as error:
            return Outcome(job.number, "error", str(error), worker=self._context.worker, data={UNPREPARED: str(error)})
        began, compiled = time.perf_counter(), self._net.programs.compile_s
        metrics = self._scorer.metrics(slots, self._genome(job)).compute()
        compile_s = self._net.programs.compile_s - compiled
        spent = time.perf_counter() - began - compile_s
        if job.data.get(ALONE):
            [outcome] = self._alone([job], report)
            inherited = {f"{INHERITED}{name}": value for name, value in metrics.items()}
            return replace(outcome, metrics={**outcome.metrics, **inherited} if outcome.outcome == "ok" else {})
        return Outcome(job.number, "ok", metrics=metrics, compile_s=compile_s, train_s=spent, worker=self._context.worker)

    def _genome(self, job: Job) -> Genome:
        return self._net.space.encode(arch_from_dict(dict(job.arch)))

    def _child(self, job: Job) -> HostVariables:
        """The candidate's own network: its weights cut from the shared ones, with its statistics; kept as its weights."""
        from nas.supernet.weights import SharedWeights

        path = self._context.weights(job.number)
        if not path.exists():
            slots, genome = self._slots(job), self._genome(job)
            params = SharedWeights(self._net.paths, slots).params_of(genome)
            save_weights(path, {"params": params, "stats": self._scorer.stats_of(slots, genome)})
        return load_weights(path)

    def _test(self, job: Job, report: Report) -> Outcome:
        """The test split, by the candidate's own network."""
        from nas.train import evaluate

        recipe, dataset, graph = self._net.recipe, self._context.dataset, lower(arch_from_dict(dict(job.arch)))
        metrics = evaluate(graph, self._child(job), dataset.test, dataset, recipe.batch, recipe.dtype, task=self._net.task)
        return Outcome(job.number, "ok", metrics=metrics, worker=self._context.worker)

    def _further(self, job: Job, report: Report) -> Outcome:
        """Trains the candidate's own network, from its part of the shared weights or from initial values, and tests it."""
        from nas.train import Checkpoints, evaluate, fit

        asked, dataset, recipe = Further.of(job.data), self._context.dataset, self._net.recipe
        matched = recipe.match_features if asked.distill else 0.0
        recipe = replace(recipe, epochs=asked.epochs, schedule_epochs=None, lr=asked.lr or recipe.lr, match_features=matched)
        folder, arch = asked.folder(self._context.storage, job.arch_id), arch_from_dict(dict(job.arch))
        kept = Checkpoints(folder / "checkpoints", keep=1, pause_s=CHECKPOINT_PAUSE_S, within_s=WITHIN_S)
        start = self._child(job) if asked.what == "finetuned" else None
        teacher = self._teacher(job) if asked.distill else None
        fitted = fit(arch, dataset, recipe, job.seed, checkpoint=kept, variables=start, teacher=teacher,
                     report=lambda step, steps, metrics: report(job.number, step, steps, metrics))  # fmt: skip
        variables = {"params": fitted.params, "stats": fitted.stats}
        save_weights(folder / "weights.npz", variables)
        kept.clear()
        tested = evaluate(lower(arch), variables, dataset.test, dataset, recipe.batch, recipe.dtype, task=self._net.task)
        metrics = {**fitted.metrics, **{f"test_{name}": value for name, value in tested.items()}}
        return Outcome(job.number, "ok", metrics=metrics, compile_s=fitted.compile_s, train_s=fitted.train_s,
                       data={"recipe": asdict(recipe)}, worker=self._context.worker)  # fmt: skip

    def _teacher(self, job: Job) -> Teacher:
        """The largest network with its part of the shared weights."""
        from nas.supernet.weights import SharedWeights
        from nas.train import Teacher

        slots, largest, dataset = self._slots(job), self._net.candidates.largest, self._context.dataset
        params = SharedWeights(self._net.paths, slots).params_of(largest)
        variables = {"params": params, "stats": self._scorer.stats_of(slots, largest)}
        return Teacher(self._net.space.decode(largest), variables, dataset.mean, dataset.std)

    def _inspect(self, job: Job, report: Report) -> Outcome:
        """What the candidate's own network answers on the validation split."""
        from nas.evaluators.inspection import inspected

        data = inspected(arch_from_dict(dict(job.arch)), self._child(job), self._context.dataset, self._net.recipe.batch)
        return Outcome(job.number, "ok", data=data, worker=self._context.worker)


class _UnpreparedError(ValueError):
    """No candidate is to blame: the worker has no shared weights."""


def _holds(path: Path, record: Mapping[str, JSON]) -> bool:
    """Whether a file has the shared weights of this very training."""
    from nas.supernet.file import load_supernet

    if not path.is_file():
        return False
    try:
        found = load_supernet(path).record
    except ValueError:
        return False  # it is trained again
    return all(found.get(key) == value for key, value in record.items())
