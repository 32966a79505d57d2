"""The shared weights of a space, trained once, for any number of searches."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nas.arch import Arch
from nas.core.settings import build, check_ranges
from nas.core.versions import versions
from nas.core.yamlio import dump_plain, dump_yaml, write_text
from nas.data import Dataset, dataset_settings, load_dataset
from nas.data.described import described
from nas.data.record import KEY, record_of
from nas.evaluators import Context
from nas.evaluators.preparation import preparation_jobs
from nas.evaluators.supernet import SupernetSettings
from nas.journal import Journal
from nas.recipe import Recipe
from nas.records import JSON
from nas.report.trajectory import curves_svg
from nas.runtime import make_executor_settings
from nas.runtime.base import Executor
from nas.space import Space, load_space
from nas.tabular import TABLES, load_table
from nas.tabular import Table as PublishedTable
from nas.tasks import check_recipe, task_of
from nas.workflows.custom import NOTHING, Custom
from nas.workflows.log import logged
from nas.workflows.photographs import decided
from nas.workflows.prepared import prepared as made_ready
from nas.workflows.progress import SILENT, Progress
from nas.workflows.run_folder import Run, as_config, open_run, use_plugins, with_paths
from nas.workflows.search.plan import fitted_space, images_as
from nas.workflows.search.preparation import prepare, prepared
from nas.workflows.supernet.fidelity import Sampled, trained_alone
from nas.workflows.table import Table
from nas.workflows.trained import RESULT
from nas.workflows.workers import start_workers

RETRIES = 2


@dataclass(frozen=True)
class SupernetCommand:
    """The keys of conf/supernet.yaml."""

    space: str
    dataset: Mapping[str, JSON]
    strategy: Mapping[str, JSON]
    recipe: Mapping[str, JSON]
    executor: Mapping[str, JSON]
    start: str | None = None
    cost: str | None = None
    resolution: int | None = None
    divisor: int | None = None
    calibration_images: int = 500
    validation_images: int | None = None
    batch: int = 250
    fidelity: int = 0
    fidelity_epochs: int | None = None
    fidelity_seeds: int = 1
    fidelity_table: str | None = None
    seed: int = 0
    threads: int | None = None
    timeout_s: float | None = 3600
    run: str | None = None
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_ranges(
            self, seed=(0, 2**31 - 1), resolution=(1, 8192), divisor=(1, 256), threads=(1, 1024), fidelity=(0, 10**4),
            fidelity_epochs=(1, 10**6), fidelity_seeds=(1, 100),
        )  # fmt: skip
        if self.fidelity_table is not None:
            given = {"fidelity_epochs": self.fidelity_epochs is not None, "fidelity_seeds": self.fidelity_seeds > 1}
            for key in (key for key, there in given.items() if there):
                raise ValueError(f"{key}: nothing is trained alone with fidelity_table; leave it out")
            if not self.fidelity:
                raise ValueError("fidelity_table: has no effect with fidelity=0; say how many networks, such as fidelity=300")

    @property
    def evaluator(self) -> dict[str, JSON]:
        """The settings of the evaluator that trains and scores."""
        keys = ("start", "strategy", "cost", "calibration_images", "validation_images", "batch")
        return with_paths({"name": "supernet", **{key: getattr(self, key) for key in keys}})


@dataclass(frozen=True)
class SupernetResult:
    """Shared weights of a space.

    Args:
        run: Their folder, with `result.json`, `curve.svg` and the journal; `evaluator.weights=` takes it.
        weights: The file of the weights.
        record: The content of `result.json`.
        best: The architecture that the strategy chose, as `best.yaml` has it; None where it chooses none.
    """

    run: Path
    weights: Path
    record: Mapping[str, JSON]
    best: Arch | None = None

    @property
    def metrics(self) -> Mapping[str, float]:
        """Metrics of the largest network on the validation split."""
        return self.record["valid"]

    @property
    def curve(self) -> Table:
        """A row an epoch: mean loss of the candidates of its steps, and learning rate."""
        return Table(tuple(self.record["curve"]))

    @property
    def fidelity(self) -> Table:
        """A row a metric of the shared weights, and one of `macs`: how it ranks networks; empty where none was trained alone."""
        found = (self.record["fidelity"] or {}).get("rankings", {})
        return Table(tuple({"by": name, **values} for name, values in found.items()))

    def __str__(self) -> str:
        shown = ", ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())
        return f"the largest network, validation: {shown}; {self.record['train_s']:.0f} s of training"


@dataclass(frozen=True)
class _Plan:
    """A command whose every part was checked."""

    command: SupernetCommand
    space: Space
    dataset: Dataset
    settings: Mapping[str, JSON]
    evaluator: SupernetSettings
    custom: Custom
    notes: tuple[str, ...]
    table: PublishedTable | None = None

    @property
    def identity(self) -> dict[str, JSON]:
        """What must be equal for a run to resume; how many networks are trained alone may grow."""
        c, space = self.command, {"name": self.space.name, "fingerprint": self.space.fingerprint}
        kept = {key: self.settings[key] for key in ("dataset", "recipe", "evaluator")}
        sizes = {"resolution": c.resolution, "divisor": c.divisor}
        return {"seed": c.seed, **sizes, "space": space, **kept, "data": {"digest": self.dataset.digest}}

    def executor(self, folder: Path, threads: int) -> Executor:
        """Workers with so many threads each; a caller's own evaluator is none here."""
        plain, given = self.space.to_plain(), self.custom.dataset
        return start_workers(self.command.executor, self.settings, plain, self.command.plugins, folder, threads, given)


def train_supernet(command: SupernetCommand, run: Run, progress: Progress = SILENT, custom: Custom = NOTHING) -> SupernetResult:
    """Trains the shared weights of a space, or resumes it; leaves them with result.json, config.yaml and curve.svg.

    Args:
        command: The settings.
        run: The folder, and the command that resumes.
        progress: Receives messages and steps.
        custom: Objects of the caller's process in place of settings.

    Returns:
        The folder, the file of the weights and the record of the training.

    Raises:
        ValueError: A setting is wrong, or the space has a choice that cannot be shared; raised before anything is trained.
        KeyboardInterrupt: After Ctrl-C; its message has the command that resumes.
    """
    plan = _planned(command, custom)
    meta = {"settings": as_config(command), "versions": versions(), "command": run.again, KEY: record_of(plan.dataset).plain()}
    with open_run(run.folder, plan.identity, meta) as journal, logged(run.folder):
        write_text(run.folder / "config.yaml", f"# {run.again}\n" + dump_plain(as_config(command)))
        size = f"{plan.space.size:.3g} networks, strategy {command.strategy.get('name')}"
        progress.message(f"nas supernet  {plan.space.name} on {plan.dataset.name}: {size}  ({run.shown})")
        for line in (*described(plan.dataset), *plan.notes):
            progress.message(line)
        with _recorded(journal, run):
            return _trained(plan, journal, run, progress)


def _planned(command: SupernetCommand, custom: Custom) -> _Plan:
    """Checks every setting and reads the dataset. Raises ValueError naming the first that is wrong."""
    use_plugins(command.plugins)
    make_executor_settings(command.executor)
    custom.check_executor(command.executor)
    recipe, evaluator = build(Recipe, command.recipe, "recipe"), _evaluator(command)
    given = command.dataset if custom.dataset else with_paths(command.dataset)
    if custom.dataset is None:
        dataset_settings(given)
    space = custom.space or load_space(command.space)
    space = space.with_divisor(command.divisor) if command.divisor else space
    task = task_of(space)
    check_recipe(task, recipe, taught=evaluator.teaches)
    images = images_as(given, command.start, space)
    dataset, form = made_ready(custom.dataset or load_dataset(images), command.start)
    space, notes = fitted_space(space, dataset, command.resolution)
    chosen, photo_notes = decided(command.recipe, dataset)
    evaluator.check(space)
    table = _published(command.fidelity_table, space)
    settings = {"dataset": images, KEY: record_of(dataset).plain(), "recipe": chosen, "evaluator": command.evaluator, "device": {}}
    return _Plan(command, space, dataset, settings, evaluator, custom, (*notes, *photo_notes, *filter(None, [form])), table)


def _published(path: str | None, space: Space) -> PublishedTable | None:
    """The published results of a space's networks in a folder. Raises ValueError for another space, and for a folder without the file."""
    if path is None:
        return None
    if space.name not in TABLES or load_space(space.name).source != space.source:
        raise ValueError(f"fidelity_table: no published results of the space {space.name}; there are those of {', '.join(TABLES)}")
    try:
        return load_table(space.name, Path(path).expanduser())
    except ValueError as error:
        raise ValueError(f"fidelity_table: {error}") from None


def _evaluator(command: SupernetCommand) -> SupernetSettings:
    return build(SupernetSettings, {key: value for key, value in command.evaluator.items() if key != "name"}, "")


@contextmanager
def _recorded(journal: Journal, run: Run) -> Iterator[None]:
    """How the command ended, in the journal."""
    journal.add_event("start", pid=os.getpid())
    try:
        yield
    except KeyboardInterrupt:
        journal.add_event("interrupted")
        raise run.stopped("stopped") from None
    except Exception as error:
        journal.add_event("failed", error=f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")
        raise
    journal.add_event("finish")
    journal.put("finished", 1)


def _trained(plan: _Plan, journal: Journal, run: Run, progress: Progress) -> SupernetResult:
    from nas.supernet.file import load_supernet

    command = plan.command
    context = Context(plan.settings, run.folder, "", plan.space.to_plain(), plan.dataset)
    jobs = preparation_jobs(plan.evaluator, context, command.seed)
    if None in (prepared(journal) or [None]):
        progress.message(_programs(plan.evaluator, context))
        executor = plan.executor(run.folder, command.threads or os.cpu_count() or 1)
        for note in executor.notes:
            progress.message(note)
        try:
            prepare(jobs, journal, executor, RETRIES, progress, "training the shared weights ...")
        finally:
            executor.close()
    found = load_supernet(prepared(journal)[0]["path"])
    kept = {key: found.record[key] for key in ("fingerprint", "strategy", "seed", "recipe", "valid", "train_s", "curve")}
    record = {"space": plan.space.name, "networks": plan.space.size, **kept, "dataset": dict(plan.settings["dataset"]),
              **found.record["data"], "versions": versions(), "fidelity": journal.get("ranked")}  # fmt: skip
    _leave(run.folder, record)
    if found.chosen is not None:
        write_text(run.folder / "best.yaml", dump_yaml(found.chosen.to_dict()))
        _tell_cost(found.chosen, plan, progress)
    if command.fidelity:
        sampled = Sampled(plan.space, command.fidelity, command.seed, command.fidelity_seeds, plan.table)
        journal.put("ranked", _fidelity(plan, sampled, journal, run, progress))
        record = {**record, "fidelity": journal.get("ranked")}
        _leave(run.folder, record)
    return SupernetResult(run.folder, found.path, record, found.chosen)


def _tell_cost(chosen: Arch, plan: _Plan, progress: Progress) -> None:
    """What the chosen network costs by the predictor, where there is one."""
    if costs := plan.evaluator.costs(plan.space):
        from nas.supernet.strategies import Candidates

        own, most = costs(plan.space.encode(chosen)), costs(Candidates(plan.space).largest)
        progress.message(f"best.yaml: {own:.3g} ms predicted, {own / most:.0%} of the largest network's {most:.3g}")


def _programs(evaluator: SupernetSettings, context: Context) -> str:
    """What is compiled, and when, so that nobody takes the first steps for the pace of the others."""
    paths = evaluator.net(context).paths
    how = "whose widths are masks" if paths.masked else "in shapes of their own"
    count = len(paths.all_units())
    return f"{count} layers {how}; compiled when a step first has them, on a GPU or TPU before all steps: the first ones are slow"


def _fidelity(plan: _Plan, sampled: Sampled, journal: Journal, run: Run, progress: Progress) -> dict[str, JSON]:
    """Networks trained alone, one thread each, beside what the shared weights say of them."""
    command = plan.command
    epochs = command.fidelity_epochs or max(plan.settings["recipe"]["epochs"] // 5, 1)
    recipe = {**plan.settings["recipe"], "epochs": epochs, "match_features": 0.0}  # alone they have no teacher
    asked = {"table": plan.table.name} if plan.table else {"epochs": epochs, "seeds": command.fidelity_seeds}
    for key, began in journal.get("fidelity", asked).items():
        if began != asked.get(key):
            raise ValueError(
                f"fidelity_{key}: networks were compared with {began}, this command has {asked.get(key)}; run=<another folder> starts anew"
            )
    journal.put("fidelity", asked)
    executor = plan.executor(run.folder, 1)
    try:
        return trained_alone(sampled, recipe, journal, executor, progress, command.timeout_s)
    finally:
        executor.close()


def _leave(folder: Path, record: Mapping[str, JSON]) -> None:
    """Writes curve.svg and result.json, each by rename."""
    kinds = [key for key in record["curve"][-1] if key.endswith("_loss")] if record["curve"] else []
    lines = [(key.replace("train_loss", "training loss").replace("_loss", ""), [(entry["epoch"], entry[key]) for entry in record["curve"]])
             for key in kinds]  # fmt: skip
    write_text(folder / "curve.svg", curves_svg(lines, "epoch", "loss"))
    write_text(folder / RESULT, json.dumps(record, indent=1) + "\n")
