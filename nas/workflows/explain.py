"""What a trained classifier's answers rest on: maps over images, feature maps, filters, receptive fields."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from nas.arch.graph import Graph
from nas.arch.receptive import ReceptiveField, layer_fields
from nas.core.settings import did_you_mean
from nas.core.yamlio import write_text
from nas.data.images import listed
from nas.report.explanation import Shown, explanation_page
from nas.workflows.export import Bundle
from nas.workflows.export.images import answers, image_files, read_image
from nas.workflows.export.inference import prepared
from nas.workflows.predict import Images, checked
from nas.workflows.progress import SILENT, Progress

Method = Literal["cam", "grad_cam", "saliency", "smooth_grad", "integrated_gradients"]
DEFAULT: tuple[Method, ...] = ("grad_cam", "saliency", "smooth_grad", "integrated_gradients")
MOST = 256  # images at a time, whose maps are held together
SIDE, WIDE = 160, 480  # pixels of the shorter side of a picture, and of a grid of them, at least


@dataclass(frozen=True)
class ExplainSettings:
    """How images are explained.

    Args:
        methods: What is shown of each image.
        label: The class whose score is explained, by its name; None: the most likely one of each image.
        tap: The feature map of Grad-CAM: `C2` .., a layer or a node; None: the last one.
        features: Feature maps to show, named as `tap`.
        noise: Of SmoothGrad, as a fraction of the image's range.
        copies: Noisy ones of SmoothGrad.
        steps: Of integrated gradients, from a black image.
        seed: Of the noise.
    """

    methods: tuple[Method, ...] = DEFAULT
    label: str | int | None = None
    tap: str | None = None
    features: tuple[str, ...] = ()
    noise: float = 0.15
    copies: int = 50
    steps: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.methods and not self.features:
            raise ValueError("methods: expected at least one, or names of feature maps under features")
        for key in ("copies", "steps"):
            if not 1 <= getattr(self, key) <= 10_000:
                raise ValueError(f"{key}: expected 1 to 10000, got {getattr(self, key)}")
        if not 0 <= self.noise <= 1:
            raise ValueError(f"noise: expected 0 to 1, got {self.noise}")


@dataclass(frozen=True)
class Explanation:
    """What the score of a class rests on in one image.

    Args:
        image: The file, or the number of the image in an array.
        pixels: (side, side, channels) uint8, as the network had it.
        label: The class whose score is explained.
        probability: Of that class.
        maps: (h, w) by method, 0 or more.
        features: (h, w, channels) by name of the feature map.
        answer: The most likely class, which `label` is unless another was asked for.
    """

    image: str
    pixels: np.ndarray = field(repr=False)
    label: str
    probability: float
    maps: Mapping[str, np.ndarray] = field(repr=False)
    features: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    answer: str = ""

    @property
    def said(self) -> str:
        """The class, its probability, and the network's answer where that is another one."""
        other = "" if self.answer in ("", self.label) else f" (the answer is {self.answer})"
        return f"{self.label} {self.probability:.1%}{other}"

    def picture(self, method: str, side: int = 1) -> np.ndarray:
        """(height, height, 3) uint8: the map of a method, for people to look at, of at least `side` pixels.

        Raises:
            KeyError: For a method that was not asked for.
        """
        from nas.explain.pictures import with_colors
        from nas.explain.shown import picture

        return picture(method, with_colors(self.pixels), self.maps[method], side)


@dataclass(frozen=True)
class Explained:
    """Explanations of images, and what there is to see in the network itself.

    Args:
        images: One explanation an image.
        fields: The receptive field of each layer.
        filters: (n, k, k) or (n, k, k, 3) kernels of the first convolution; None where they are no pictures.
    """

    images: tuple[Explanation, ...]
    fields: tuple[ReceptiveField, ...] = field(repr=False)
    filters: np.ndarray | None = field(default=None, repr=False)

    def write(self, out: str | Path) -> list[Path]:
        """Writes explanation.html, receptive_fields.csv and the pictures as PNG files into a folder, and names them.

        Raises:
            ValueError: Where the folder cannot be written.
        """
        from nas.explain.pictures import color_scale, grid, png

        folder = Path(out).expanduser()
        pictures = [{name: png(shown) for name, shown in _shown(one).items()} for one in self.images]
        files = {f"{stem}-{name}.png": content for stem, one in zip(self._stems(), pictures, strict=True) for name, content in one.items()}
        if self.filters is not None:
            files["filters.png"] = png(_big(grid(self.filters), WIDE))
        shown = [Shown(one.image, one.said, of) for one, of in zip(self.images, pictures, strict=True)]
        page = explanation_page(shown, files.get("filters.png"), self.fields, png(color_scale()))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (folder / name).write_bytes(content)
            write_text(folder / "receptive_fields.csv", fields_csv(self.fields))
            write_text(folder / "explanation.html", page)
        except OSError as error:
            raise ValueError(f"out: {error.filename or folder}: {error.strerror}") from None
        return [folder / name for name in ("explanation.html", "receptive_fields.csv", *files)]

    def _stems(self) -> list[str]:
        """What the files of each image begin with: its name, or its number where two have one name."""
        stems = [Path(one.image).stem for one in self.images]
        return stems if len(set(stems)) == len(stems) else [str(i) for i in range(len(stems))]


def explain(bundle: Bundle, images: Images, settings: ExplainSettings, progress: Progress = SILENT) -> Explained:
    """Explains what a classifier sees in images.

    Args:
        bundle: A network from `load_bundle` or `trained_bundle`.
        images: A file, a folder, files, or an array (n, h, w, c) or (h, w, c) uint8.
        settings: What is shown, and how it is found.
        progress: Receives messages on files of a folder that are left out, and on what is done.

    Returns:
        An explanation an image, in order.

    Raises:
        ValueError: The network is no classifier, a name is unknown, or an image cannot be read.
    """
    from nas.explain.pictures import first_filters
    from nas.explain.shown import feature_maps

    trained = bundle.trained
    if not trained.classes or len(trained.graph.outputs) > 1:
        raise ValueError("weights: the network is no classifier; explanations are of the score of a class")
    asked = None if settings.label is None else str(settings.label)  # a name of digits alone comes as a number
    if asked is not None and asked not in trained.classes:
        raise ValueError(f"label: the network has no class {asked!r}{did_you_mean(asked, trained.classes)}")
    tap, features = _nodes(trained.graph, settings)
    names, pixels = _read(bundle, images, progress)
    found = answers(bundle, pixels)
    if "probability" not in found:
        raise ValueError("weights: the network is no classifier; explanations are of the score of a class")
    probability = found["probability"]
    classes = probability.argmax(1) if asked is None else np.full(len(pixels), trained.classes.index(asked))
    normalized = prepared(pixels, bundle.arch, trained.mean, trained.std)
    maps = _maps(bundle, normalized, classes, settings, tap, progress)
    values = dict(zip(settings.features, feature_maps(trained.graph, trained.variables, normalized, features), strict=True))
    explanations = (
        Explanation(
            name, pixels[i], trained.classes[classes[i]], float(probability[i, classes[i]]),
            {method: found[i] for method, found in maps.items()}, {name: found[i] for name, found in values.items()},
            trained.classes[probability[i].argmax()],
        )
        for i, name in enumerate(names)
    )  # fmt: skip
    return Explained(tuple(explanations), layer_fields(trained.graph), first_filters(trained.graph, trained.variables))


def _read(bundle: Bundle, images: Images, progress: Progress) -> tuple[list[str], np.ndarray]:
    """Names of the images, and (n, side, side, channels) uint8."""
    if isinstance(images, np.ndarray):
        arrays = checked(images, bundle.arch.channels)
        _check_count(len(arrays))
        return [str(i) for i in range(len(arrays))], arrays
    files = image_files(Path(images).expanduser(), progress.message) if isinstance(images, str | Path) else [*map(Path, images)]
    _check_count(len(files))
    read, errors = dict[str, np.ndarray](), list[str]()
    for file in files:
        try:
            read[str(file)] = read_image(file, bundle.data)
        except ValueError as error:
            errors.append(str(error))
    if not read:
        raise ValueError(listed(errors))
    for error in errors:
        progress.message(f"left out: {error.removeprefix('image: ')}")
    return [*read], np.stack([*read.values()])


def _check_count(count: int) -> None:
    if not 1 <= count <= MOST:
        raise ValueError(f"image: expected 1 to {MOST} images, got {count}")


def _maps(
    bundle: Bundle, normalized: np.ndarray, classes: np.ndarray, settings: ExplainSettings, tap: int | None, progress: Progress
) -> dict[str, np.ndarray]:
    """(n, h, w) by method."""
    from nas.explain.shown import TITLES, MethodSettings, explained

    trained = bundle.trained
    black = tuple(-mean / std for mean, std in zip(trained.mean, trained.std, strict=True))
    how = MethodSettings(tap, settings.noise, settings.copies, settings.seed, settings.steps, black)
    found = {}
    for method in settings.methods:
        progress.message(f"{TITLES[method]} ...")
        found[method] = explained(trained.graph, trained.variables, normalized, classes, method, how)
    return found


def _nodes(graph: Graph, settings: ExplainSettings) -> tuple[int | None, tuple[int, ...]]:
    """The nodes of `tap` and `features`, found before anything is computed. Raises ValueError naming the setting."""
    from nas.explain.maps import cam_layers

    if "cam" in settings.methods and cam_layers(graph) is None:
        raise ValueError("methods: cam needs a head of a global pool and one linear layer; grad_cam needs none")
    tap = None if settings.tap is None else _node(graph, settings.tap, "tap")
    return tap, tuple(_node(graph, name, "features") for name in settings.features)


def _node(graph: Graph, tap: str, key: str) -> int:
    """The index of a feature map. Raises ValueError naming the setting."""
    from nas.explain.taps import find_node

    try:
        node = find_node(graph, tap)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
    if graph.nodes[node].shape[0] * graph.nodes[node].shape[1] == 1:
        raise ValueError(f"{key}: {tap} is no feature map: it has a single position")
    return node


def _shown(one: Explanation) -> dict[str, np.ndarray]:
    """Pictures by name: the image, a map a method, the strongest channels of each feature map."""
    from nas.explain.pictures import channels, grid

    pictures = {"image": _big(one.pixels), **{method: one.picture(method, SIDE) for method in one.maps}}
    return pictures | {
        f"features-{tap.replace('/', '.')}": _big(grid(channels(values)), WIDE) for tap, values in one.features.items()
    }


def _big(picture: np.ndarray, side: int = SIDE) -> np.ndarray:
    from nas.explain.pictures import enlarged, with_colors

    return enlarged(with_colors(picture), side)


def fields_csv(fields: Sequence[ReceptiveField]) -> str:
    """Receptive fields as a table: layer, positions, side, stride, and whether a global pool lets in the whole map."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["layer", "height", "width", "receptive_field", "stride", "pooled"])
    rows.writerows([f.name, len(f.rows), len(f.columns), f.size, f.stride, str(f.pooled).lower()] for f in fields)
    return text.getvalue()
