"""Trains one architecture; scores, applies and exports what was trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nas.api.types import Settings

if TYPE_CHECKING:
    from nas.arch import Arch
    from nas.data import Dataset, DatasetSettings
    from nas.recipe import Recipe
    from nas.workflows.arguments import Arrays
    from nas.workflows.export.run import Exported
    from nas.workflows.gallery import LookUp
    from nas.workflows.predict import Images, Prediction
    from nas.workflows.progress import Reporting
    from nas.workflows.train import TrainResult


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
    normalization: Literal["dataset", "imagenet", "inception"] | Mapping[str, Sequence[float]] | None = None,
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
        weights: To start from: a weights.npz, keras:<file>, a state dict of PyTorch (.pth, .safetensors, .npz), an .onnx, imagenet:
            published weights of an installed package, or supernet:<folder of a supernet>: the network's own part of shared weights.
        normalization: Mean and std of images / 255, as `{"mean": [..], "std": [..]}`, or whose; None: those that `weights` were
            trained with, where known, else the dataset's.
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
        ['accuracy', 'balanced_accuracy', 'loss']
    """
    from nas.workflows.arguments import settings_among, train_arguments
    from nas.workflows.train import TrainCommand
    from nas.workflows.train import train as run_train

    given = settings_among(TrainCommand, locals())
    arguments = train_arguments(given, {"epochs": epochs, "batch": batch, "lr": lr})
    return run_train(*arguments.prepared(TrainCommand, run, progress), arguments.custom)


def evaluate(
    weights: str | Path | TrainResult,
    dataset: str | Settings | DatasetSettings | Dataset | Arrays | None = None,
    *,
    arch: str | Path | Settings | Arch | None = None,
    split: Literal["train", "valid", "test"] = "test",
    plugins: Iterable[str] = (),
) -> Mapping[str, float]:
    """Scores a trained network on a split of a dataset.

    Args:
        weights: What `train` returned, the folder of a training, or a bundle of `export`; or `timm:<file>`, `torchvision:<file>` or
            `imagenet`, whose images are made ready as that library does it.
        dataset: As in `search`; None: the one that the network was trained on. Where its settings leave `resize` and `resolution`
            open, images become as those of the training.
        arch: The architecture of a library's weights.
        split: Which part of the dataset.
        plugins: Modules with your blocks or datasets.

    Returns:
        Metrics by name.

    Raises:
        ValueError: Where the dataset does not fit the network.
    """
    from nas.arch.find import find_arch
    from nas.workflows.arguments import recorded_dataset
    from nas.workflows.evaluate import evaluate as score
    from nas.workflows.predict import find_bundle
    from nas.workflows.run_folder import use_plugins

    use_plugins(list(plugins))
    bundle = find_bundle(_folder(weights), arch if arch is None else find_arch(arch, "arch"))
    known = dataset if dataset is not None else getattr(weights, "dataset", None)
    return score(bundle, recorded_dataset(known, bundle.facts.get("dataset"), bundle.data), split)


def predict(
    weights: str | Path | TrainResult,
    images: Images,
    *,
    arch: str | Path | Settings | Arch | None = None,
    calibrated: bool = False,
    threshold: float = 0.0,
) -> list[Prediction]:
    """What a trained network says of images: classes, objects or masks, or the values of other tasks.

    Args:
        weights: As in `evaluate`.
        images: A file, a folder of images, files, or an array (n, h, w, c) or (h, w, c) uint8.
        arch: The architecture of a library's weights.
        calibrated: Whether probabilities are those at the temperature that `export` fitted on the validation split.
        threshold: The least probability of an answer; the label of an image below it is "none of these". Of a detector, the least
            score of an object; 0: 0.25.

    Returns:
        A prediction an image: the probability of every class, `objects`, a `mask`, or `values`. Of several files, one that
        cannot be read has an `error`.

    Raises:
        ValueError: For a network that is not there, where no image can be read, and for settings that its task has no use for.
    """
    from nas.arch.find import find_arch
    from nas.workflows.predict import find_bundle
    from nas.workflows.predict import predict as run_predict

    bundle = find_bundle(_folder(weights), arch if arch is None else find_arch(arch, "arch"))
    return run_predict(bundle, images, calibrated=calibrated, threshold=threshold)


def compare(weights: str | Path | TrainResult, image: str | Path, other: str | Path) -> float:
    """The distance of two images by their embeddings.

    Args:
        weights: A network with the head `embedding`: what `train` returned, the folder of a training, or a bundle of `export`.
        image: A file.
        other: Another one.

    Returns:
        0 where the network sees no difference, about 1.4 for images that have nothing to do with each other, at most 2.

    Raises:
        ValueError: For a network of another task, and files that cannot be read.
    """
    from nas.workflows.gallery import compare as run_compare
    from nas.workflows.predict import find_bundle

    return run_compare(find_bundle(_folder(weights)), image, other)


def look_up(
    weights: str | Path | TrainResult, images: str | Path | Sequence[str | Path], gallery: str | Path
) -> list[LookUp]:
    """Looks images up in a gallery by their embeddings.

    Args:
        weights: As in `compare`.
        images: A file, a folder of images, or files.
        gallery: A folder with a folder of images for each person or thing.

    Returns:
        For each image the nearest image of every person or thing, nearest first.

    Raises:
        ValueError: For a network of another task, and where no image can be read.
    """
    from nas.workflows.gallery import look_up as run_look_up
    from nas.workflows.predict import find_bundle

    return run_look_up(find_bundle(_folder(weights)), images, gallery)


def export(
    weights: str | Path | TrainResult | None = None,
    out: str | Path | None = None,
    *,
    arch: str | Path | Settings | Arch | None = None,
    formats: Sequence[str] | None = None,
    dataset: str | Settings | DatasetSettings | Dataset | Arrays | None = None,
    device: str | Sequence[str] | Settings | None = None,
    calibrate: int = 256,
    preprocess: bool = False,
    postprocess: bool = False,
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
        preprocess: Whether files for runtimes take uint8 images, and those of a classifier give probabilities.
        postprocess: Whether files of ONNX give a detector's objects after suppression, a segmenter's classes of pixels.
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

    around = {"preprocess": preprocess, "postprocess": postprocess}
    given = plain({"formats": formats, "device": device, "calibrate": calibrate, **around, "plugins": plugins, "out": out})
    kept = dataset if dataset is not None else getattr(weights, "dataset", None)
    custom = Custom(arch=None if arch is None else find_arch(arch, "arch"), dataset=as_dataset(kept))
    given["dataset"] = None if custom.dataset is not None else plain({"dataset": dataset})["dataset"]
    given["arch"] = None if custom.arch is None else custom.arch.name
    given["weights"] = None if weights is None else str(getattr(weights, "weights", weights))
    return run_export(build(ExportCommand, compose("export", given), ""), make_progress(progress), custom)


def _folder(weights: str | Path | TrainResult) -> str | Path:
    return weights if isinstance(weights, str | Path) else weights.run
