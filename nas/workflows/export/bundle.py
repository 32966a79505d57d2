"""Making a bundle, checked before it is there.

Everything is written into a folder under a temporary name, loaded back from there and compared with the network's own logits
on real images; then the folder is renamed. `bundle.json` has the SHA-256 of every file.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from nas.arch import Arch
from nas.arch.blocks import arch_id, lower, refuse_private
from nas.core.versions import versions
from nas.core.yamlio import dump_yaml
from nas.cost import cost
from nas.data.dataset import Dataset
from nas.data.record import DataRecord, record_of
from nas.data.split import subset
from nas.data.statistics import evenly
from nas.nn.weights import Variables
from nas.records import JSON
from nas.tasks import about, metrics_over, task_of
from nas.tasks.base import HostOutputs
from nas.workflows.export import closer, int8, metadata, postprocess, safetensors
from nas.workflows.export.card import card, confusion
from nas.workflows.export.formats import FORMATS, Trained, run_onnx
from nas.workflows.export.inference import joined, own_outputs, prepared, rows_for
from nas.workflows.export.loading import INDEX, VERSION, WEIGHTS, digest
from nas.workflows.export.usage import usage

if TYPE_CHECKING:
    from nas.convert import Postprocess, Preprocess

Run: TypeAlias = Callable[[np.ndarray], HostOutputs]  # from a batch of images to what a network or a file gives

TOLERANCE = 1e-4  # of logits, absolute and relative
SAMPLES = 64
BATCH = 256
WHOLE = ("stablehlo", "onnx", "tflite")  # what `preprocess` changes; model.py has a function for it


@dataclass(frozen=True)
class Made:
    """What was made: the folder, each format's largest difference of outputs, the task's primary metric on the test split.

    accuracy: a value of that metric, whose name is `metric`; int8_accuracy: the same of each format that was quantized too.
    """

    folder: Path
    differences: Mapping[str, float]
    accuracy: float
    int8_accuracy: Mapping[str, float] = field(default_factory=dict)
    metric: str = "accuracy"

    @property
    def files(self) -> dict[str, Path]:
        """The file of each format."""
        files = {name: self.folder / FORMATS[name].file for name in self.differences}
        return files | {f"int8 {name}": self.folder / int8.FILES[name] for name in self.int8_accuracy}


def make_bundle(
    folder: Path, arch: Arch, variables: Variables, dataset: Dataset, formats: Sequence[str], *, with_int8: bool = False,
    latencies: Mapping[str, float] | None = None, origin: Mapping[str, JSON] | None = None, calibrate: int = 256,
    data: DataRecord | None = None, preprocess: bool = False, postprocess: bool = False,
) -> Made:  # fmt: skip
    """Writes the bundle; nothing is left where it fails.

    `data` is what the network was trained with; None: `dataset` is. Test figures and calibration are of `dataset`. With
    `preprocess` the files that run take uint8 images and give probabilities of classes; with `postprocess` those of ONNX give
    objects, or classes of pixels.

    Raises ValueError for a folder that exists or cannot be written, and where a format's logits are not the network's.
    """
    refuse_private(arch, "export it")
    if folder.exists():
        raise ValueError(f"out: {folder} exists already; choose another folder")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        made = _Making(
            temporary, arch, variables, dataset, data or record_of(dataset), dict(origin or {}), dict(latencies or {}),
            preprocess, postprocess,
        ).run(formats, with_int8, calibrate)
        os.replace(temporary, folder)
        return Made(folder, *made, task_of(arch).primary)
    except OSError as error:
        raise ValueError(f"out: {error.filename or folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@dataclass
class _Making:
    folder: Path
    arch: Arch
    variables: Variables
    dataset: Dataset
    data: DataRecord
    origin: dict[str, JSON]
    latencies: dict[str, float]
    preprocess: bool = False
    postprocess: bool = False

    @property
    def inside(self) -> Preprocess | None:
        """What files do around the network. Raises ValueError for a task without classes."""
        if not self.preprocess:
            return None
        if not self.data.classes:
            raise ValueError(f"preprocess: gives probabilities of classes, and the task {task_of(self.arch).name} has none")
        from nas.convert import Preprocess

        sides = self.data.resolution, self.arch.resolution
        return Preprocess(self.data.mean, self.data.std, *sides, probabilities=self.labeled)

    @property
    def behind(self) -> Postprocess | None:
        """What files of ONNX do behind the network. Raises ValueError for a task without it."""
        return postprocess.behind(self.arch) if self.postprocess else None

    @property
    def labeled(self) -> bool:
        """Whether an image has one class, so that its logits become probabilities."""
        return self.dataset.target.kind == "label"

    def run(
        self, formats: Sequence[str], with_int8: bool, calibrate: int
    ) -> tuple[dict[str, float], float, dict[str, float]]:
        dataset, graph = self.dataset, lower(self.arch)
        trained = Trained(self.arch.name, graph, self.variables, self.data.classes, self.data.mean, self.data.std, self.inside)
        (self.folder / "arch.yaml").write_text(dump_yaml(self.arch.to_dict()), encoding="utf-8")
        (self.folder / WEIGHTS).write_bytes(safetensors.to_bytes(safetensors.flat(self.variables)))
        if self.behind and "onnx" not in formats:
            raise ValueError("postprocess: is in files of ONNX; formats: expected onnx among them")
        logits = self._logits() if self.labeled else None  # outputs of other tasks can be as large as images: scored as they come
        sample = np.linspace(0, len(dataset.test) - 1, min(SAMPLES, len(dataset.test))).astype(int)
        pixels = dataset.test.images[sample]
        normalized = prepared(pixels, self.arch, self.data.mean, self.data.std)
        own = self._own(normalized) if logits is None else logits[sample]
        differences: dict[str, float] = {}
        for name in formats:
            whole = self.inside if name in WHOLE else None
            differences[name] = self._checked(name, replace(trained, inside=whole), own, pixels if whole else normalized)
        scores = self._metrics(self._outputs(self._own) if logits is None else [(logits, dataset.test.targets)])
        accuracy = scores[task_of(self.arch).primary]
        quantized = self._int8(trained, formats, calibrate) if with_int8 else {}
        matrix = None if logits is None else confusion(dataset.test.targets, logits.argmax(1), len(self.data.classes))
        looked = self._closer(logits) if logits is not None and len(dataset.valid) else {}
        self._write_card(differences, scores, quantized, matrix, looked)
        self._write_index(accuracy, looked)
        return differences, accuracy, {name: found["after"] for name, found in quantized.items()}

    @property
    def _own(self) -> Run:
        """The network's outputs, of both splits by one program."""
        return partial(own_outputs, self.arch, self.variables, rows=rows_for(len(self.dataset.test)))

    def _logits(self, valid: np.ndarray | None = None) -> np.ndarray:
        """(n, classes) of the test split, or of rows of `valid`."""
        logits = joined([outputs for outputs, _ in self._outputs(self._own, valid=valid)])
        assert isinstance(logits, np.ndarray), "a classifier has one output"
        return logits

    def _closer(self, logits: np.ndarray) -> dict[str, JSON]:
        """What a classifier's card says beyond its accuracy; `logits` are those of the test split. Of other tasks nothing."""
        if "probability" not in task_of(self.arch).postprocess(logits):
            return {}
        valid = evenly(np.arange(len(self.dataset.valid)), closer.FITTED)
        known = closer.confidence(self._logits(valid), logits, self.dataset, valid)
        shown = closer.draw(self.folder, self.arch, self.variables, self.dataset, self.data, logits)
        return {"confidence": known, "lines": [*closer.confidence_lines(known), *shown]}

    def _outputs(self, run: Run, whole: bool = False, valid: np.ndarray | None = None) -> Iterator[tuple[HostOutputs, np.ndarray]]:
        """What `run` gives of the test split, or of rows of `valid`, with the targets: of normalized images, or `whole` uint8 ones."""
        split = self.dataset.test if valid is None else self.dataset.valid
        rows = np.arange(len(split)) if valid is None else valid
        for start in range(0, len(rows), BATCH):
            some = rows[start : start + BATCH]
            images = split.images[some]
            yield run(images if whole else prepared(images, self.arch, self.data.mean, self.data.std)), split.targets[some]

    def _score(self, run: Run, whole: bool = False) -> float:
        """The task's primary metric of what `run` gives of the test split."""
        return self._metrics(self._outputs(run, whole))[task_of(self.arch).primary]

    def _metrics(self, batches: Iterable[tuple[HostOutputs, np.ndarray]]) -> dict[str, float]:
        return metrics_over(task_of(self.arch), batches)

    def _checked(self, name: str, trained: Trained, own: HostOutputs, images: np.ndarray) -> float:
        """Writes a format; returns the largest difference of what it gives for images from the network's own outputs."""
        path, content = self.folder / FORMATS[name].file, FORMATS[name].write(trained)
        path.write_bytes(self._described(name, content))
        found = FORMATS[name].run(path, images)
        if trained.inside and trained.inside.probabilities:
            assert isinstance(own, np.ndarray), "a classifier has one output"
            own = softmax(own)
        difference = compared(name, found, own)
        if name == "onnx" and (behind := self.behind):
            path.write_bytes(self._described(name, content, behind))
            postprocess.check(task_of(self.arch), path, images, found)
        return difference

    def _described(self, name: str, content: bytes, behind: Postprocess | None = None) -> bytes:
        """A file with what is around its network, if it is of ONNX, and with what it says of itself."""
        if name not in metadata.WRITERS:
            return content
        for part in (self.inside, behind) if name == "onnx" else ():
            content = part.in_onnx(content) if part else content
        side = self.inside.side if self.inside else self.arch.resolution
        outputs = postprocess.outputs_of(task_of(self.arch), bool(self.data.classes), self.inside is not None, behind is not None)
        facts = metadata.facts_of(self.data, side, metadata.LAYOUTS[name], self.inside is not None, outputs)
        return metadata.WRITERS[name](content, facts)

    def _int8(
        self, trained: Trained, formats: Sequence[str], calibrate: int
    ) -> dict[str, dict[str, JSON]]:
        """What was made from each format that has a form in 8 bits."""
        names = int8.made_from(formats)
        rows = calibration_rows(self.dataset.train.targets, calibrate)
        train, make = self.dataset.train.images[rows], {"onnx": self._onnx_int8, "tflite": self._tflite_int8}
        return {
            name: {**make[name](trained, train), "images": len(self.dataset.test), "calibrated": len(train)}
            for name in names
        }

    def _onnx_int8(self, trained: Trained, train: np.ndarray) -> dict[str, JSON]:
        """Made from the network of normalized images; what is around it comes after."""
        target = self.folder / int8.FILES["onnx"]
        with tempfile.TemporaryDirectory() as folder:
            (source := Path(folder) / "plain.onnx").write_bytes(FORMATS["onnx"].write(replace(trained, inside=None)))
            int8.quantize(source, target, prepared(train, self.arch, self.data.mean, self.data.std))
            after, before = (self._score(partial(run_onnx, file)) for file in (target, source))
        target.write_bytes(self._described("onnx", target.read_bytes(), self.behind))
        return {"before": before, "after": after}

    def _tflite_int8(self, trained: Trained, train: np.ndarray) -> dict[str, JSON]:
        """Made from the whole file; where that normalizes images itself, it is in integers after doing so."""
        from nas.convert import quantized_tflite

        source, target = self.folder / FORMATS["tflite"].file, self.folder / int8.FILES["tflite"]
        seen = train if self.inside else prepared(train, self.arch, self.data.mean, self.data.std)
        target.write_bytes(self._described("tflite", quantized_tflite(FORMATS["tflite"].write(trained), seen)))
        run, whole = FORMATS["tflite"].run, self.inside is not None
        after, before = (self._score(partial(run, file), whole) for file in (target, source))
        return {"before": before, "after": after}

    def _write_card(
        self, differences: Mapping[str, float], scores: Mapping[str, float], quantized: Mapping[str, JSON], matrix: np.ndarray | None,
        looked: Mapping[str, JSON],
    ) -> None:  # fmt: skip
        counted = cost(self.arch)
        what = {"stablehlo": "StableHLO by jax.export, any number of images", "source": "Flax source, needs jax and flax",
                "onnx": "ONNX, any number of images, (n, c, h, w)", "tflite": "TensorFlow Lite, one image"}  # fmt: skip
        files = [("arch.yaml", "the architecture", "-"), (WEIGHTS, "its arrays", "-")]
        files += [(FORMATS[name].file, what[name], f"{value:.1e}") for name, value in differences.items()]
        kinds = {"onnx": "ONNX, 8 bits", "tflite": "TensorFlow Lite, 8 bits, one image"}
        files += [(int8.FILES[name], kinds[name], "not compared, see below") for name in quantized]
        facts = {
            "name": self.arch.name, "input": lower(self.arch).input_shape, "params": counted.params, "macs": counted.macs,
            "task": about(task_of(self.arch)), "preprocess": self.preprocess, "postprocess": self.postprocess,
            "test": {"metrics": scores, "images": len(self.dataset.test)}, "files": files, "int8": quantized,
            "latencies": self.latencies, "origin": {**self.origin, "exported_with": versions()}, **looked,
        }  # fmt: skip
        text = card(facts, matrix, self.data.classes, self._usage(differences))
        (self.folder / "README.md").write_text(text, encoding="utf-8")

    def _usage(self, formats: Collection[str]) -> list[str]:
        around = {"preprocess": self.preprocess, "postprocess": self.postprocess}
        return usage(task_of(self.arch), self.data, self.arch.resolution, formats, **around)

    def _write_index(self, accuracy: float, looked: Mapping[str, JSON]) -> None:
        digests = {path.name: digest(path) for path in sorted(self.folder.iterdir()) if path.is_file()}
        index = {
            "version": VERSION, "name": self.arch.name, "arch_id": arch_id(self.arch), **self.data.plain(),
            "task": task_of(self.arch).name, "test": accuracy, "confidence": looked.get("confidence"), "sha256": digests,
        }  # fmt: skip
        (self.folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def softmax(logits: np.ndarray) -> np.ndarray:
    """(n, classes) probabilities."""
    exp = np.exp(logits - logits.max(1, keepdims=True))
    return exp / exp.sum(1, keepdims=True)


def calibration_rows(targets: np.ndarray, count: int) -> np.ndarray:
    """`count` rows for calibration, the classes in proportion; of targets that are no labels, evenly over all."""
    if targets.dtype.kind not in "iu" or targets.ndim != 1:
        return evenly(np.arange(len(targets)), count)
    return subset(targets, np.arange(len(targets)), count, (0,))


def compared(name: str, got: HostOutputs, expected: HostOutputs) -> float:
    """The largest difference of outputs. Raises ValueError where it is over the tolerance."""
    given, own = ({"": one} if isinstance(one, np.ndarray) else one for one in (got, expected))
    if set(given) != set(own):
        raise ValueError(f"formats: {name}: loaded back it gives the outputs {', '.join(given)}, not {', '.join(own)}; nothing was written")
    return max(_difference(name, given[key], one) for key, one in own.items())


def _difference(name: str, got: np.ndarray, expected: np.ndarray) -> float:
    if got.shape != expected.shape or not np.isfinite(got).all():
        raise ValueError(
            f"formats: {name}: loaded back it gives {got.shape}, or values that are no numbers; nothing was written"
        )
    difference = np.abs(got - expected)
    if (difference > TOLERANCE * (1 + np.abs(expected))).any():
        raise ValueError(
            f"formats: {name}: its outputs differ from the network's by {difference.max():.2g}; nothing was written"
        )
    return float(difference.max())
