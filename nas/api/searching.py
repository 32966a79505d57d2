"""Searches spaces, and reads and reports the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.api.types import Settings

if TYPE_CHECKING:
    from nas.arch import Arch
    from nas.controllers import Controller
    from nas.data import Dataset, DatasetSettings
    from nas.evaluators import EvaluatorSettings
    from nas.objectives import Direction
    from nas.recipe import Recipe
    from nas.space import Space
    from nas.workflows.arguments import Arrays
    from nas.workflows.progress import Reporting
    from nas.workflows.search.result import SearchResult
    from nas.workflows.supernet.run import SupernetResult


def search(
    space: str | Path | Settings | Space | None = None,
    dataset: str | Settings | DatasetSettings | Dataset | Arrays | None = None,
    *,
    objectives: Mapping[str, Direction] | None = None,
    constraints: Mapping[str, float] | None = None,
    objective: str | Settings | None = None,
    controller: str | Settings | Controller[Any] | None = None,
    evaluator: str | Settings | EvaluatorSettings | None = None,
    evaluate: Callable[[Arch], Mapping[str, float]] | None = None,
    executor: str | Settings | None = None,
    device: str | Sequence[str] | Settings | None = None,
    recipe: str | Settings | Recipe | None = None,
    trials: int | None = None,
    seed: int | None = None,
    resolution: int | None = None,
    divisor: int | None = None,
    search: Settings | None = None,
    run: str | Path | None = None,
    storage: str | Path | None = None,
    track: Iterable[str] | None = None,
    plugins: Iterable[str] | None = None,
    version: str | None = None,
    progress: Reporting = None,
) -> SearchResult:
    """Searches a space for the Pareto front of quality against cost.

    Every argument is a key of conf/search.yaml with the same default as on the command line. A group (`controller`,
    `recipe`, ..) takes the name of a choice, settings that change the default choice, or settings whose `name` chooses.
    The same call resumes a search that was stopped; more `trials` extend it. So does `nas.search(run=..)` alone: what is
    not given, None, is as the run in that folder has it. Objects of the call (a function, arrays) must be given again.

    Args:
        space: Name of a space, path of a YAML file, the content of one, or a `Space`; None: tiny.
        dataset: Name, settings, a `Dataset`, or arrays: `(x, y)`, or a dict with `x_train`, `y_train` and optionally
            `x_valid`, `y_valid`, `x_test`, `y_test`, as `nas.data.arrays.dataset_of_arrays` has them.
        objectives: Metrics of the front and which way they are better, such as
            `{"accuracy": "max", "latency_ms/onnxruntime": "min"}`. A device that is named here needs no `device`.
        constraints: The most that a metric may be (accuracy: the least), such as `{"params": 2e6}`.
        objective: The reward and its settings: a name or settings of conf/objective.
        controller: What proposes: a name, settings, or an object with `init`, `ask` and `tell`.
        evaluator: What scores: a name, settings, or an object with `make(context)`.
        evaluate: A function from an `Arch` to its metrics, in place of a training. It runs in this process. Without
            objectives the front is of accuracy against params.
        executor: `local`, `processes` or `ray`, or settings; `local` where an object or function of this process is used.
        device: Devices whose latency is predicted and measured: a name, names, or settings by name; None: onnxruntime,
            where JAX trains on a GPU or TPU host.
        recipe: How candidates are trained: a name, settings that change the default, or a `Recipe`.
        trials: Architectures to train; None: 24.
        seed: One seed, one sequence of proposals; None: 0.
        resolution: Image size of the network in pixels; None: the dataset's, or the space's choice.
        divisor: Stage widths become multiples of it; None: as the space says.
        search: Settings of the loop, such as `{"in_flight": 8}`.
        run: Folder of the run, whose settings stand for what is not given; None: runs/<a name made of the arguments>.
        storage: Folder for weights that all nodes of a cluster see; None: the run's.
        track: Where figures go while it runs: log, tensorboard, mlflow, wandb; None: the first two.
        plugins: Modules with your blocks, datasets, controllers, evaluators or devices.
        version: Whatever changes when the code of a function or object changes, so that results are not mixed up.
        progress: True for a bar with the time left, or a function that receives `Update`s.

    Returns:
        The front, the best member and all trials.

    Raises:
        ValueError: For a mistake in the arguments, in one line that names the key.
        KeyboardInterrupt: After Ctrl-C; the same call resumes.

    Example:
        >>> import nas
        >>> result = nas.search("tiny", evaluate=lambda arch: {"accuracy": 1 / nas.cost(arch).params}, trials=4)
        >>> result.best.params <= result.front[-1].params
        True
    """
    from nas.workflows.arguments import search_arguments, settings_among
    from nas.workflows.search.plan import SearchCommand
    from nas.workflows.search.run import search as run_search

    given = settings_among(SearchCommand, locals())
    arguments = search_arguments(given, objectives, constraints, evaluate, version, run)
    return run_search(*arguments.prepared(SearchCommand, run, progress), arguments.custom)


def supernet(
    space: str | Path | Settings | Space = "tiny",
    dataset: str | Settings | DatasetSettings | Dataset | Arrays | None = None,
    *,
    strategy: str | Settings | None = None,
    start: str | Path | None = None,
    cost: str | Path | None = None,
    recipe: str | Settings | Recipe | None = None,
    calibration_images: int = 500,
    validation_images: int | None = None,
    batch: int = 250,
    fidelity: int = 0,
    fidelity_epochs: int | None = None,
    fidelity_seeds: int = 1,
    fidelity_table: str | Path | None = None,
    resolution: int | None = None,
    divisor: int | None = None,
    executor: str | Settings | None = None,
    seed: int = 0,
    threads: int | None = None,
    timeout_s: float | None = 3600,
    run: str | Path | None = None,
    plugins: Iterable[str] = (),
    progress: Reporting = None,
) -> SupernetResult:
    """Trains the weights that all candidates of a space share, once for any number of searches.

    The same call resumes a training that was stopped. `nas.search(space, evaluator={"name": "supernet", "weights": ..})` scores
    candidates with them, and `nas.train(arch, weights="supernet:..")` trains one of them further.

    Args:
        space: Name of a space, path of a YAML file, the content of one, or a `Space`.
        dataset: Name, settings, a `Dataset`, or arrays, as `search` takes them; None: digits.
        strategy: Which candidates a step runs: `uniform`, `fair`, `sandwich`, `attentive`, `rl`, `shrinking` or `taught`,
            or settings; None: uniform.
        start: Weights of a trained network that the largest one starts from, as `weights` of `train`; its channels are put in the
            order of their importance first. None: initial values.
        cost: The file of a latency predictor for the space, as `profile` leaves it: what the strategy `rl` weighs candidates by, in
            milliseconds. None: their multiply-adds.
        recipe: Of the training: a name, settings, or a `Recipe`; None: `supernet`, of 120 epochs.
        calibration_images: Training images from which the statistics of a candidate's batch norms are computed.
        validation_images: Of the validation split, that a candidate is scored on; None: all.
        batch: Images at a time, of both.
        fidelity: Random networks that are trained alone too, to see how well the shared weights rank them; 0: none. The same
            call with more of them adds to those there are.
        fidelity_epochs: Of their trainings; None: a fifth of the recipe's.
        fidelity_seeds: Trainings of each, whose mean counts.
        fidelity_table: Folder with the published results of the space, whose accuracies are the truth in place of trainings.
        resolution: Image size of the networks in pixels; None: the dataset's, or the space's choice.
        divisor: Stage widths become multiples of it; None: as the space says.
        executor: `local`, `processes` or `ray`, or settings; None: processes, or local where arrays are given.
        seed: Of initial weights, candidates, order and augmentation.
        threads: CPU threads of the training; None: all.
        timeout_s: A network trained alone that takes longer is ended; None: never.
        run: The folder; None: runs/supernet-<a name made of the arguments>.
        plugins: Modules with your blocks or datasets.
        progress: True for a bar with the time left, or a function that receives `Update`s.

    Returns:
        The folder, the weights, the metrics of the largest network, and how well they rank.

    Raises:
        ValueError: For a mistake in the arguments, and for a choice of the space that cannot be shared, naming its gene.
        KeyboardInterrupt: After Ctrl-C; the same call resumes.

    Example:
        >>> import nas
        >>> few = {"resolution": 8, "min_feature_map": 2, "stem": {"op": "conv", "width": 4},
        ...        "stages": [{"op": "conv", "kernel": 1, "width": {"one_of": [2, 4]}}], "head": {"op": "classifier"}}
        >>> shared = nas.supernet(few, {"train_size": 100, "resolution": 8}, recipe={"epochs": 1}, executor="local", run="runs/super")
        >>> sorted(shared.metrics)
        ['accuracy', 'balanced_accuracy', 'loss']
    """
    from nas.space import load_space
    from nas.workflows.arguments import settings_among, workflow_arguments
    from nas.workflows.supernet.run import SupernetCommand, train_supernet

    given = settings_among(SupernetCommand, locals())
    arguments = workflow_arguments("supernet", given, space=load_space(space))
    return train_supernet(*arguments.prepared(SupernetCommand, run, progress), arguments.custom)


def load_run(run: str | Path) -> SearchResult:
    """Reads the result of a search from its folder, at any time, also while it runs.

    Args:
        run: The folder.

    Raises:
        ValueError: Where there is no run, naming the nearest one.
    """
    from nas.journal import Journal
    from nas.workflows.run_folder import journal_folder
    from nas.workflows.search.result import read_result

    folder = journal_folder(str(run))
    with Journal.open(folder / "journal.sqlite", read_only=True) as journal:
        return read_result(journal, folder.absolute())


def report(
    run: str | Path | SearchResult | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    references: Sequence[str | Path] = (),
    scaled: Sequence[str | Path] = (),
) -> list[Path]:
    """Writes the report of a search again, or a page that compares several.

    Args:
        run: A search, its folder, or several folders: of runs, of sweeps, or patterns such as `runs/seeds/*`.
        out: The page that compares several; None: compare.html.
        references: Folders of trainings on the same dataset, drawn beside the front.
        scaled: Folders of `scale` with `train=True`, whose members stand on the front where nothing beats them.

    Returns:
        The files that were written, the page last.

    Raises:
        ValueError: For a run that is not there.
    """
    from nas.workflows.report import compare_runs, report_run

    if isinstance(run, Sequence) and not isinstance(run, str):
        if references or scaled:
            raise ValueError("references, scaled: beside one run, not with several")
        page = Path(out or "compare.html")
        compare_runs([str(one) for one in run], page)
        return [page]
    if out is not None:
        raise ValueError("out: names the page that compares several runs; the report of a run lies in its folder")
    folder = run if isinstance(run, str | Path) else run.run
    return report_run(str(folder), [str(one) for one in references], [str(one) for one in scaled])[1]
