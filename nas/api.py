"""The Python API: typed functions over the workflows, the same code that the `nas` command runs.

Nothing here prints, and nothing of the caller's process is changed: no signal handlers, no environment variables, no
handlers of the root logger. Every function works in a thread and in a notebook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nas.workflows.progress import Progress, Update

if TYPE_CHECKING:
    from nas.arch import Arch
    from nas.controllers import Controller
    from nas.cost import Cost
    from nas.data import Dataset, DatasetSettings
    from nas.evaluators import EvaluatorSettings
    from nas.objectives import Direction
    from nas.recipe import Recipe
    from nas.space import Space
    from nas.workflows.adapt.run import AdaptResult
    from nas.workflows.arguments import Arrays
    from nas.workflows.export.run import Exported
    from nas.workflows.predict import Images, Prediction
    from nas.workflows.profile_devices import Profiled
    from nas.workflows.scale.run import ScaleResult
    from nas.workflows.search.result import SearchResult
    from nas.workflows.train import TrainResult

Settings = Mapping[str, Any]
Reporting = bool | Callable[[Update], object] | Progress | None


def search(
    space: str | Path | Settings | Space = "tiny",
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
    from nas.workflows.arguments import make_progress, search_arguments
    from nas.workflows.search.plan import SearchCommand
    from nas.workflows.search.run import search as run_search

    given = {key: value for key, value in locals().items() if key in SearchCommand.__dataclass_fields__}
    arguments = search_arguments(given, objectives, constraints, evaluate, version)
    command = build(SearchCommand, arguments.config, "")
    return run_search(command, arguments.run("search", run), make_progress(progress), arguments.custom)


def train(
    arch: str | Path | Settings | Arch,
    dataset: str | Settings | DatasetSettings | Dataset | Arrays | None = None,
    *,
    recipe: str | Settings | Recipe | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    resolution: int | None = None,
    weights: str | Path | None = None,
    teacher: str | Path | None = None,
    teacher_weights: str | Path | None = None,
    seed: int = 0,
    devices: int = 1,
    executor: str | Settings | None = None,
    restarts: int = 3,
    checkpoint_every: int = 1,
    checkpoint_minutes: float | None = 10,
    checkpoint_keep: int = 2,
    run: str | Path | None = None,
    plugins: Iterable[str] = (),
    progress: Reporting = None,
) -> TrainResult:
    """Trains an architecture and keeps its weights. The same call resumes a training that was stopped.

    Args:
        arch: Name of a reference architecture, path, block strings, or an `Arch` such as `result.best.arch`.
        dataset: As in `search`; None: digits.
        recipe: A name of conf/recipe, settings that change the default (`full`), or a `Recipe`.
        epochs: Passes over the training images; in place of the recipe's.
        batch: Images a step; in place of the recipe's.
        lr: The highest learning rate; in place of the recipe's.
        resolution: Image size of the network in pixels; None: the dataset's.
        weights: To start from: a weights.npz, or keras:<file>.
        teacher: A trained network to learn from: a bundle, the folder of a training or search.
        teacher_weights: Weights of a teacher that is given as an architecture.
        seed: Of initial weights, order and augmentation.
        devices: Accelerators that share each batch.
        executor: `local` (this process), or `ray` with settings.
        restarts: With ray: how often all workers start again after one died.
        checkpoint_every: Epochs between checkpoints.
        checkpoint_minutes: Minutes between checkpoints within an epoch; None: never.
        checkpoint_keep: Checkpoints that stay.
        run: The folder; None: runs/train-<a name made of the arguments>.
        plugins: Modules with your blocks or datasets.
        progress: True for a bar with the time left, or a function that receives `Update`s.

    Returns:
        The trained network, with its metrics, weights, `export` and `predict`.

    Raises:
        ValueError: For a mistake in the arguments.
        KeyboardInterrupt: After Ctrl-C; the same call resumes.

    Example:
        >>> import nas
        >>> tiny = {"resolution": 8, "channels": 1, "classes": 10, "stem": {"op": "conv", "width": 4},
        ...         "stages": [{"op": "conv", "width": 8, "stride": 2}], "head": {"op": "classifier"}}
        >>> net = nas.train(nas.load_arch(tiny), {"train_size": 200}, recipe="quick", epochs=1)
        >>> sorted(net.test)
        ['accuracy', 'loss']
    """
    from nas.core.settings import build
    from nas.workflows.arguments import make_progress, train_arguments
    from nas.workflows.train import TrainCommand
    from nas.workflows.train import train as run_train

    keys = TrainCommand.__dataclass_fields__.keys() - {"arch", "threads"}
    given = {key: value for key, value in locals().items() if key in keys}
    arguments = train_arguments(given, arch, {"epochs": epochs, "batch": batch, "lr": lr})
    command = build(TrainCommand, {**arguments.config, "checkpoint_minutes": checkpoint_minutes}, "")
    return run_train(command, arguments.run("train", run), make_progress(progress), arguments.custom)


def evaluate(
    weights: str | Path | TrainResult,
    dataset: str | Settings | DatasetSettings | Dataset | Arrays | None = None,
    *,
    split: Literal["train", "valid", "test"] = "test",
    plugins: Iterable[str] = (),
) -> Mapping[str, float]:
    """Scores a trained network on a split of a dataset.

    Args:
        weights: What `train` returned, the folder of a training, or a bundle of `export`.
        dataset: As in `search`; None: the one that the network was trained on.
        split: Which part of the dataset.
        plugins: Modules with your blocks or datasets.

    Returns:
        Metrics by name.

    Raises:
        ValueError: Where the dataset does not fit the network.
    """
    from nas.workflows.arguments import recorded_dataset
    from nas.workflows.evaluate import evaluate as score
    from nas.workflows.predict import find_bundle
    from nas.workflows.run_folder import use_plugins

    use_plugins(list(plugins))
    bundle = find_bundle(_folder(weights))
    known = dataset if dataset is not None else getattr(weights, "dataset", None)
    return score(bundle, recorded_dataset(known, bundle.facts.get("dataset")), split)


def predict(weights: str | Path | TrainResult, images: Images) -> list[Prediction]:
    """Classifies images with a trained network.

    Args:
        weights: What `train` returned, the folder of a training, or a bundle of `export`.
        images: A file, a folder of images, files, or an array (n, h, w, c) or (h, w, c) uint8.

    Returns:
        A prediction an image, with the probability of every class.

    Raises:
        ValueError: For a network that is not there, or an image that cannot be read.
    """
    from nas.workflows.predict import find_bundle
    from nas.workflows.predict import predict as run_predict

    return run_predict(find_bundle(_folder(weights)), images)


def _folder(weights: str | Path | TrainResult) -> str | Path:
    return weights if isinstance(weights, str | Path) else weights.run


def export(
    weights: str | Path | TrainResult | None = None,
    out: str | Path | None = None,
    *,
    arch: str | Path | Settings | Arch | None = None,
    formats: Sequence[str] | None = None,
    dataset: str | Settings | DatasetSettings | Dataset | Arrays | None = None,
    device: str | Sequence[str] | Settings | None = None,
    calibrate: int = 256,
    plugins: Iterable[str] = (),
    progress: Reporting = None,
) -> Exported:
    """Exports a trained network as a bundle, or an architecture as text.

    Args:
        weights: What `train` returned, or a weights.npz; None: the architecture alone.
        out: The folder. None: `bundle` beside the weights; of an architecture the texts are returned only.
        arch: The architecture; None: arch.yaml beside the weights.
        formats: Of a bundle: stablehlo, source, onnx, tflite, int8, None: all whose packages are installed. Of an
            architecture alone: timm, tf, yaml, None: timm.
        dataset: That the network was trained on; None: the one in the record of its training.
        device: Devices on which its latency is measured for the model card.
        calibrate: Training images from which int8 takes the ranges of activations.
        plugins: Modules with your blocks, datasets or devices.
        progress: True, or a function that receives `Update`s.

    Returns:
        Folder, files and accuracy of a bundle; texts of an architecture.

    Raises:
        ValueError: Where a file would not compute what the network does; nothing is written then.

    Example:
        >>> import nas
        >>> "ir_r2" in nas.export(arch="mobilenet_v2").texts["timm"]
        True
    """
    from nas.arch.find import find_arch
    from nas.core.settings import build
    from nas.workflows.arguments import as_dataset, make_progress, plain
    from nas.workflows.custom import Custom
    from nas.workflows.defaults import compose
    from nas.workflows.export.run import ExportCommand
    from nas.workflows.export.run import export as run_export

    given = plain({"formats": formats, "device": device, "calibrate": calibrate, "plugins": plugins, "out": out})
    kept = dataset if dataset is not None else getattr(weights, "dataset", None)
    custom = Custom(arch=None if arch is None else find_arch(arch), dataset=as_dataset(kept))
    given["dataset"] = None if custom.dataset is not None else plain({"dataset": dataset})["dataset"]
    given["arch"] = None if custom.arch is None else custom.arch.name
    given["weights"] = None if weights is None else str(getattr(weights, "weights", weights))
    return run_export(build(ExportCommand, compose("export", given), ""), make_progress(progress), custom)


def cost(
    arch: str | Path | Settings | Arch,
    *,
    resolution: int | None = None,
    channels: int | None = None,
    classes: int | None = None,
) -> Cost:
    """Counts parameters, multiply-adds and activation memory, exactly, layer by layer.

    Args:
        arch: Name of a reference architecture, path, block strings, or an `Arch`.
        resolution: Image size in pixels; None: the architecture's own.
        channels: Channels of the images.
        classes: Classes.

    Example:
        >>> import nas
        >>> nas.cost("mobilenet_v3_large").params
        5483032
    """
    from nas.arch.find import find_arch
    from nas.cost import cost as count

    return count(find_arch(arch).with_io(resolution, channels, classes))


def profile(
    space: str | Path | Settings | Space = "tiny",
    device: str | Sequence[str] | Settings | None = None,
    *,
    samples: int | Literal["auto"] = 100,
    error: float = 0.05,
    holdout: int = 20,
    resolution: int | None = None,
    channels: int = 3,
    classes: int = 1000,
    divisor: int | None = None,
    seed: int = 0,
    threads: int = 1,
    out: str | Path | None = None,
    run: str | Path | None = None,
    plugins: Iterable[str] = (),
    progress: Reporting = None,
) -> list[Profiled]:
    """Measures networks of a space on devices and fits a latency predictor to each, which a search can be given.

    Args:
        space: As in `search`.
        device: Devices: a name, names, or settings by name; None: host.
        samples: Networks to fit to; `auto`: until the error below is reached.
        error: With `auto`: mean relative error on networks left out.
        holdout: Networks kept apart to test the predictor.
        resolution: Image size in pixels; None: the space's own.
        channels: Channels of the images.
        classes: Classes.
        divisor: Stage widths become multiples of it; None: as the space says.
        seed: One seed, one sequence of networks.
        threads: CPU threads of the process that measures.
        out: File for the predictor; None: in the folder of the run.
        run: The folder; None: runs/profile-<a name made of the arguments>.
        plugins: Modules with your blocks or devices.
        progress: True, or a function that receives `Update`s.

    Returns:
        A predictor with its errors for each device.

    Raises:
        ValueError: For a mistake in the arguments, and where too few networks could be measured.
    """
    from nas.core.settings import build
    from nas.space import load_space
    from nas.workflows.arguments import make_progress, workflow_arguments
    from nas.workflows.profile_devices import ProfileCommand
    from nas.workflows.profile_devices import profile as run_profile

    given = {key: value for key, value in locals().items() if key in ProfileCommand.__dataclass_fields__}
    arguments = workflow_arguments("profile", given, space=load_space(space))
    command = build(ProfileCommand, arguments.config, "")
    return run_profile(command, arguments.run("profile", run), make_progress(progress), arguments.custom)


def adapt(
    weights: str | Path | TrainResult,
    dataset: str | Settings | DatasetSettings | None = None,
    *,
    target: float = 0.7,
    target_ms: float | None = None,
    arch: str | Path | None = None,
    device: str | Sequence[str] | Settings | None = None,
    recipe: str | Settings | Recipe | None = None,
    evaluator: str | Settings | None = None,
    executor: str | Settings | None = None,
    adapt: Settings | None = None,
    seed: int = 0,
    threads: int = 1,
    timeout_s: float | None = 3600,
    run: str | Path | None = None,
    plugins: Iterable[str] = (),
    progress: Reporting = None,
) -> AdaptResult:
    """Shrinks a trained network step by step until it meets a latency.

    Args:
        weights: What `train` returned, or a weights.npz.
        dataset: Name or settings; None: digits.
        target: Fraction of the network's predicted latency to reach.
        target_ms: Milliseconds to reach; over `target` where it is set.
        arch: The architecture; None: arch.yaml beside the weights.
        device: The device; None: host.
        recipe: Of the short trainings: a name, settings, or a `Recipe`.
        evaluator: `layerwise` or `scratch`, or settings.
        executor: `local`, `processes` or `ray`, or settings.
        adapt: Settings of the steps, such as `{"step": 0.03}`.
        seed: Of proposals and trainings.
        threads: CPU threads a training.
        timeout_s: A training that takes longer is ended; None: never.
        run: The folder; None: runs/adapt-<a name made of the arguments>.
        plugins: Modules with your blocks, datasets or devices.
        progress: True, or a function that receives `Update`s.

    Returns:
        The network at the end, the path to it, and what was measured.

    Raises:
        ValueError: For a mistake in the arguments, and where the target cannot be reached.

    Source:
        NetAdapt, Yang et al. 2018 (arXiv:1804.03230).
    """
    from nas.core.settings import build
    from nas.workflows.adapt.run import AdaptCommand
    from nas.workflows.adapt.run import adapt as run_adapt
    from nas.workflows.arguments import make_progress, workflow_arguments

    given = {key: value for key, value in locals().items() if key in AdaptCommand.__dataclass_fields__}
    arguments = workflow_arguments("adapt", {**given, "weights": str(getattr(weights, "weights", weights))})
    command = build(AdaptCommand, {**arguments.config, "timeout_s": timeout_s}, "")
    return run_adapt(command, arguments.run("adapt", run), make_progress(progress))


def scale(
    arch: str | Path | Settings | Arch,
    *,
    phi: Sequence[float] = (1, 2, 3),
    preset: Literal["efficientnet"] | None = None,
    alpha: float = 1.2,
    beta: float = 1.1,
    gamma: float = 1.15,
    divisor: int = 8,
    macs: Sequence[float] = (),
    target_ms: Sequence[float] = (),
    grid: Settings | None = None,
    train: bool = False,
    dataset: str | Settings | DatasetSettings | None = None,
    recipe: str | Settings | Recipe | None = None,
    device: str | Sequence[str] | Settings | None = None,
    executor: str | Settings | None = None,
    seed: int = 0,
    threads: int = 1,
    timeout_s: float | None = 3600,
    run: str | Path | None = None,
    plugins: Iterable[str] = (),
    progress: Reporting = None,
) -> ScaleResult:
    """Scales an architecture to a family: depth alpha^phi, width beta^phi, resolution gamma^phi.

    Args:
        arch: Name of a reference architecture, path, block strings, or an `Arch`.
        phi: Members.
        preset: `efficientnet`: the published B1 to B8 instead, phi 1 to 8.
        alpha: Of depth.
        beta: Of width.
        gamma: Of resolution.
        divisor: Widths become multiples of it.
        macs: Members that just meet these multiply-adds, instead of phi.
        target_ms: Members that just meet these predicted latencies on the one device, instead of phi.
        grid: Settings of the search for alpha, beta and gamma, such as `{"search": True}`.
        train: Whether the members are trained.
        dataset: Name or settings; None: digits.
        recipe: Of trainings: a name, settings, or a `Recipe`.
        device: Devices on which members are measured.
        executor: `local`, `processes` or `ray`, or settings.
        seed: Of trainings.
        threads: CPU threads a training.
        timeout_s: A training that takes longer is ended; None: never.
        run: Folder for the members; None: runs/scale-<a name made of the arguments> where something is measured or trained.
        plugins: Modules with your blocks or datasets.
        progress: True, or a function that receives `Update`s.

    Returns:
        The members with their figures.

    Raises:
        ValueError: For a mistake in the arguments.

    Source:
        EfficientNet, Tan and Le 2019 (arXiv:1905.11946).

    Example:
        >>> import nas
        >>> [member.arch.resolution for member in nas.scale("efficientnet_b0", preset="efficientnet", phi=[1, 2]).members]
        [240, 260]
    """
    from nas.arch.find import find_arch
    from nas.core.settings import build
    from nas.workflows.arguments import make_progress, workflow_arguments
    from nas.workflows.scale.run import ScaleCommand
    from nas.workflows.scale.run import scale as run_scale

    given = {key: value for key, value in locals().items() if key in ScaleCommand.__dataclass_fields__}
    arguments = workflow_arguments("scale", {**given, "phi": list(phi)}, arch=find_arch(arch))
    command = build(ScaleCommand, {**arguments.config, "timeout_s": timeout_s}, "")
    return run_scale(command, arguments.run("scale", run), make_progress(progress), arguments.custom)


def report(
    run: str | Path | SearchResult | Sequence[str | Path],
    *,
    out: str | Path = "compare.html",
    references: Sequence[str | Path] = (),
    scaled: Sequence[str | Path] = (),
) -> list[Path]:
    """Writes the report of a search again, or a page that compares several.

    Args:
        run: A search, its folder, or several folders.
        out: The page that compares several.
        references: Folders of trainings on the same dataset, drawn beside the front.
        scaled: Folders of `scale` with `train=True`, whose members stand on the front where nothing beats them.

    Returns:
        The files that were written, the page last.

    Raises:
        ValueError: For a run that is not there.
    """
    from nas.workflows.report import compare_runs, report_run

    if isinstance(run, Sequence) and not isinstance(run, str):
        return [compare_runs([str(one) for one in run], Path(out))]
    folder = run if isinstance(run, str | Path) else run.run
    return report_run(str(folder), [str(one) for one in references], [str(one) for one in scaled])[1]


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
        18
    """
    from nas.space import load_space

    return load_space(space)


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
    from nas.arch.find import find_arch

    return find_arch(arch)
