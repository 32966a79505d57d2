"""The Python API: typed functions over the workflows, the same code that the `nas` command runs.

Nothing here prints, and nothing of the caller's process is changed: no signal handlers, no environment variables, no
handlers of the root logger. Every function works in a thread and in a notebook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.workflows.progress import Progress, Update, make_progress

if TYPE_CHECKING:
    from nas.arch import Arch
    from nas.controllers import Controller
    from nas.data import Dataset, DatasetSettings
    from nas.evaluators import EvaluatorSettings
    from nas.objectives.objectives import Direction
    from nas.recipe import Recipe
    from nas.space import Space
    from nas.workflows.arguments import Arrays
    from nas.workflows.search.result import SearchResult

Settings = Mapping[str, Any]
Reporting = bool | Callable[[Update], object] | Progress | None


def search(
    space: str | Path | Settings | Space = "tiny",
    dataset: str | Settings | DatasetSettings | Dataset | Arrays | None = None,
    *,
    objectives: Mapping[str, Direction] | None = None,
    constraints: Mapping[str, float] | None = None,
    objective: str | Settings | None = None,
    controller: str | Settings | Controller | None = None,
    evaluator: str | Settings | EvaluatorSettings | None = None,
    evaluate: Callable[[Arch], Mapping[str, float]] | None = None,
    executor: str | Settings | None = None,
    device: str | Sequence[str] | Settings | None = None,
    recipe: str | Settings | Recipe | None = None,
    trials: int = 24,
    seed: int = 0,
    resolution: int | None = None,
    divisor: int | None = None,
    search: Settings | None = None,
    run: str | Path | None = None,
    storage: str | Path | None = None,
    track: Iterable[str] = ("log", "tensorboard"),
    plugins: Iterable[str] = (),
    version: str | None = None,
    progress: Reporting = None,
) -> SearchResult:
    """Searches a space for the Pareto front of quality against cost.

    Every argument is a key of conf/search.yaml with the same default as on the command line. A group (`controller`,
    `recipe`, ..) takes the name of a choice, settings that change the default choice, or settings whose `name` chooses.
    The same call resumes a search that was stopped; more `trials` extend it.

    Args:
        space: Name of a space, path of a YAML file, the content of one, or a `Space`.
        dataset: Name, settings, a `Dataset`, or arrays: `(x, y)`, or a dict with `x_train`, `y_train` and optionally
            `x_valid`, `y_valid`, `x_test`, `y_test`; images are (n, h, w, c) uint8.
        objectives: Metrics of the front and which way they are better, such as
            `{"accuracy": "max", "latency_ms/onnxruntime": "min"}`. A device that is named here needs no `device`.
        constraints: The most that a metric may be (accuracy: the least), such as `{"params": 2e6}`.
        objective: The reward and its settings: a name or settings of conf/objective.
        controller: What proposes: a name, settings, or an object with `init`, `ask` and `tell`.
        evaluator: What scores: a name, settings, or an object with `make(context)`.
        evaluate: A function from an `Arch` to its metrics, in place of a training. It runs in this process. Without
            objectives the front is of accuracy against params.
        executor: `local`, `processes` or `ray`, or settings; `local` where an object or function of this process is used.
        device: Devices whose latency is predicted and measured: a name, names, or settings by name.
        recipe: How candidates are trained: a name, settings that change the default, or a `Recipe`.
        trials: Architectures to train.
        seed: One seed, one sequence of proposals.
        resolution: Image size of the network in pixels; None: the dataset's, or the space's choice.
        divisor: Stage widths become multiples of it; None: as the space says.
        search: Settings of the loop, such as `{"in_flight": 8}`.
        run: Folder of the run; None: runs/<a name made of the arguments>.
        storage: Folder for weights that all nodes of a cluster see; None: the run's.
        track: Where figures go while it runs: log, tensorboard, mlflow, wandb.
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
    from nas.core.settings import build
    from nas.workflows.arguments import search_arguments
    from nas.workflows.search.plan import SearchCommand
    from nas.workflows.search.run import search as run_search

    given = {key: value for key, value in locals().items() if key in SearchCommand.__dataclass_fields__}
    arguments = search_arguments(given, objectives, constraints, evaluate, version)
    command = build(SearchCommand, arguments.config, "")
    return run_search(command, arguments.run("search", run), make_progress(progress), arguments.custom)


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


def load_space(space: str | Path | Settings) -> Space:
    """Reads a search space.

    Args:
        space: Name of a space that comes with nas, path of a YAML file, or the content of one.

    Raises:
        ValueError: Naming the place of what is wrong.

    Example:
        >>> import nas
        >>> len(nas.load_space("tiny").genes)
        7
    """
    from nas.workflows.arguments import as_space

    return as_space(space)


def load_arch(arch: str | Path | Settings) -> Arch:
    """Reads an architecture.

    Args:
        arch: Name of a reference architecture, path of a YAML file, block strings, or the content of a file.

    Raises:
        ValueError: Naming the place of what is wrong.

    Example:
        >>> import nas
        >>> nas.load_arch("mobilenet_v3_large").resolution
        224
    """
    from nas.workflows.arguments import as_arch

    return as_arch(arch)
