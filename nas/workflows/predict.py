"""What a trained network says of images: classes, objects, masks, or values; of an exported bundle, or the folder of a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.files import load_arch
from nas.core.jsonio import parse_json
from nas.data.images import listed
from nas.data.pixels import Resize
from nas.data.record import record_from
from nas.nn.weights import split_source
from nas.records import JSON
from nas.tasks import task_of
from nas.workflows.export import Bundle, load_bundle
from nas.workflows.export.formats import Trained
from nas.workflows.export.images import answers, image_files, read_image, size_of
from nas.workflows.export.loading import INDEX
from nas.workflows.export.sources import whole_weights
from nas.workflows.imported import imported_bundle
from nas.workflows.placing import SURE, UNSEEN, Found, boxes_on, classes_on
from nas.workflows.progress import SILENT, Progress
from nas.workflows.trained import RESULT

Images = str | Path | Sequence[str | Path] | np.ndarray
BATCH = 64  # images that are decoded at a time
NONE = "none of these"  # the answer for an image whose most likely class is below the threshold


@dataclass(frozen=True)
class Prediction:
    """The output of a network for one image.

    Args:
        image: The file, or the number of the image in an array.
        probabilities: By class, highest first; empty where the task has no classes.
        values: Outputs of other tasks by name, such as `value` of a regression, or `embedding`, a list of numbers.
        error: Why the file could not be read; then there is nothing else.
        threshold: The least probability of the most likely class with which it is the answer; 0: always.
        objects: What a detector found, highest score first; None of other tasks.
        mask: (h, w) uint8, of a segmentation the number of each pixel's class, of the image's own size; 255 where the network saw
            none of it.
        classes: Names of the classes of objects and masks.
    """

    image: str
    probabilities: Mapping[str, float]
    values: Mapping[str, JSON] = field(default_factory=dict)
    error: str = ""
    threshold: float = 0.0
    objects: tuple[Found, ...] | None = None
    mask: np.ndarray | None = field(default=None, compare=False)
    classes: tuple[str, ...] = field(default=(), repr=False)

    @property
    def shares(self) -> Mapping[str, float]:
        """The fraction of the image's pixels that each class of a mask has, largest first; classes without a pixel are left out."""
        if self.mask is None:
            return {}
        counts = np.bincount(self.mask.ravel(), minlength=UNSEEN + 1)[: len(self.classes)]
        order = np.argsort(-counts, kind="stable")
        return {self.classes[i]: float(counts[i] / self.mask.size) for i in order if counts[i]}

    @property
    def label(self) -> str:
        """The most likely class, or `NONE` where it is below the threshold.

        Raises ValueError where the image could not be read, or the network gives no class of a whole image.
        """
        if self.error:
            raise ValueError(self.error)
        if not self.probabilities:
            raise ValueError(f"label: {self.image} as a whole has no class; its objects, mask or values have what the network found")
        label, probability = next(iter(self.probabilities.items()))
        return label if probability >= self.threshold else NONE

    def top(self, count: int) -> dict[str, float]:
        """Returns the `count` most likely classes with their probabilities, highest first."""
        return dict(list(self.probabilities.items())[:count])


def predict(
    bundle: Bundle, images: Images, progress: Progress = SILENT, *, calibrated: bool = False, threshold: float = 0.0
) -> list[Prediction]:
    """What a network says of images.

    Args:
        bundle: A network from `load_bundle` or `trained_bundle`.
        images: A file, a folder, files, or an array (n, h, w, c) or (h, w, c) uint8.
        progress: Receives messages on files of a folder that are left out.
        calibrated: Whether probabilities are those at the temperature that the bundle's model card names.
        threshold: The least probability of an answer; below it the label is `NONE`. Of a detector, the least score of an object; 0: 0.25.

    Returns:
        One prediction per image, in order. Of several files those that cannot be read have an `error`.

    Raises:
        ValueError: No image can be read, the array has another shape or type, nothing calibrates the network, or its task has no use
            for a setting.
    """
    _check_settings(task_of(bundle.arch).name, calibrated, threshold)
    ask = _Asked(bundle, temperature_of(bundle) if calibrated else 1.0, threshold)
    if isinstance(images, np.ndarray):
        arrays = checked(images, bundle.arch.channels)
        starts = range(0, len(arrays), BATCH)
        side = arrays.shape[1]
        sizes = [(side, side)] * BATCH
        return [one for i in starts for one in _predictions(ask, range(i, len(arrays)), arrays[i : i + BATCH], sizes, "squash")]
    found = image_files(Path(images).expanduser(), progress.message) if isinstance(images, str | Path) else [Path(one) for one in images]
    done = [one for i in range(0, len(found), BATCH) for one in _of_files(ask, found[i : i + BATCH])]
    if done and all(one.error for one in done):
        raise ValueError(listed([one.error for one in done]))
    return done


def _check_settings(task: str, calibrated: bool, threshold: float) -> None:
    """Raises ValueError for a setting that would be passed over."""
    if threshold and task in ("segmentation", "embedding"):
        given = {"segmentation": "a class for every pixel", "embedding": "vectors"}[task]
        raise ValueError(f"threshold: is of the probabilities of classes and the scores of objects, and {task} gives {given}; leave it out")
    if calibrated and task in ("segmentation", "detection", "embedding"):
        raise ValueError(f"calibrated: is of the probabilities of a classifier, and the network is for {task}; leave it out")


@dataclass(frozen=True)
class _Asked:
    bundle: Bundle
    temperature: float
    threshold: float


def temperature_of(bundle: Bundle) -> float:
    """The temperature that calibrates a bundle. Raises ValueError where none was fitted."""
    known = bundle.facts.get("confidence")
    try:
        temperature = float(known["temperature"]) if known else 0.0
    except (KeyError, TypeError, ValueError):
        temperature = 0.0
    if not 0 < temperature < np.inf:
        raise ValueError(f"calibrated: {bundle.folder} holds no temperature; nas export fits one to a classifier")
    return temperature


def _of_files(ask: _Asked, files: Sequence[Path]) -> Iterator[Prediction]:
    """Of a batch of files, also those that cannot be read."""
    arrays: dict[Path, np.ndarray] = {}
    errors: dict[Path, str] = {}
    for file in files:
        try:
            arrays[file] = read_image(file, ask.bundle.data)
        except ValueError as error:
            errors[file] = str(error)
    sizes = [size_of(file) for file in arrays] if task_of(ask.bundle.arch).pictures else [(0, 0)] * len(arrays)
    rule = ask.bundle.data.resize
    read = iter(_predictions(ask, list(arrays), np.stack([*arrays.values()]), sizes, rule) if arrays else ())
    yield from (Prediction(str(file), {}, error=errors[file]) if file in errors else next(read) for file in files)


def _predictions(
    ask: _Asked, names: Sequence[object], images: np.ndarray, sizes: Sequence[tuple[int, int]], rule: Resize
) -> Iterator[Prediction]:
    """sizes: (width, height) that each image had before the rule made it square."""
    classes, found = ask.bundle.trained.classes, answers(ask.bundle, images, ask.temperature)
    named = [str(name) for name, _ in zip(names, images, strict=False)]
    if "mask" in found:
        for name, scores, (width, height) in zip(named, found["scores"], sizes, strict=False):
            yield Prediction(name, {}, mask=classes_on(scores, width, height, rule), classes=classes)
        return
    if "boxes" in found:
        for i, (name, (width, height)) in enumerate(zip(named, sizes, strict=False)):
            own = _objects(ask, {key: one[i] for key, one in found.items()}, width, height, rule)
            yield Prediction(name, {}, objects=own, classes=classes)
        return
    if "probability" not in found:
        yield from (Prediction(one, {}, {key: column[i].tolist() for key, column in found.items()}) for i, one in enumerate(named))
        return
    for name, row in zip(named, found["probability"], strict=True):
        yield Prediction(name, {classes[i]: float(row[i]) for i in np.argsort(-row, kind="stable")}, threshold=ask.threshold)


def _objects(ask: _Asked, found: Mapping[str, np.ndarray], width: int, height: int, rule: Resize) -> tuple[Found, ...]:
    """The objects of an image with scores from the threshold on, `SURE` where none is given, by falling score."""
    rows = np.flatnonzero((found["classes"] >= 0) & (found["scores"] >= (ask.threshold or SURE)))
    boxes = boxes_on(found["boxes"][rows], width, height, rule).tolist()
    labels = (ask.bundle.trained.classes[number] for number in found["classes"][rows])
    return tuple(
        Found(label, float(score), (x0, y0, x1, y1))
        for label, score, (x0, y0, x1, y1) in zip(labels, found["scores"][rows], boxes, strict=True)
    )


def checked(images: np.ndarray, channels: int) -> np.ndarray:
    """(n, side, side, channels) of one or more uint8 images. Raises ValueError for another shape or type."""
    arrays = images[None] if images.ndim == 3 else images
    if arrays.ndim != 4 or arrays.dtype != np.uint8 or arrays.shape[3] != channels or arrays.shape[1] != arrays.shape[2]:
        shape = f"(n, side, side, {channels})"
        raise ValueError(f"images: expected uint8 of shape {shape}, got {images.dtype} of shape {images.shape}")
    return arrays


def find_bundle(weights: str | Path, arch: str | Arch | None = None) -> Bundle:
    """Loads the network in a folder, or that of a library's weights.

    Args:
        weights: A bundle of `nas export`, a folder of `nas train`, or the weights.npz in it; or as `weights=` of a training,
            `timm:<file>`, `torchvision:<file>` or `imagenet`.
        arch: The architecture of a library's weights; None: the one in the folder.

    Returns:
        The network with its classes and normalization.

    Raises:
        ValueError: A file is missing, changed, or of another kind.
    """
    if split_source(str(weights))[0]:
        if arch is None:
            raise ValueError(f"arch: expected the architecture that {weights} is of, such as arch=resnet50")
        return imported_bundle(str(weights), arch)
    if arch is not None:
        raise ValueError(f"arch: is for weights of a library, such as timm:<file>; {weights} has its own beside it, leave it out")
    path = Path(weights).expanduser()
    folder = path.parent if path.name == "weights.npz" else path
    return trained_bundle(folder) if (folder / RESULT).is_file() and not (folder / INDEX).is_file() else load_bundle(path)


def trained_bundle(folder: Path) -> Bundle:
    """Loads the network of a training, with the classes and the normalization that it was trained with.

    Args:
        folder: The folder of the training.

    Returns:
        The network, its architecture and the training's record.

    Raises:
        ValueError: A file is missing or of another kind.
    """
    arch = load_arch(str(folder / "arch.yaml"))
    try:
        record = parse_json((folder / RESULT).read_text(encoding="utf-8"))
        data = record_from(record)
    except OSError as error:
        raise ValueError(f"{folder / RESULT}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / RESULT}: not a result of nas train: {error}") from None
    variables = whole_weights(str(folder / "weights.npz"), arch)
    trained = Trained(arch.name, lower(arch), variables, data.classes, data.mean, data.std)
    return Bundle(folder, arch, trained, data, record)
