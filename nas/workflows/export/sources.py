"""A bundle of a trained network, from the folder that a training left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.find import find_arch
from nas.core.jsonio import parse_json
from nas.data import Dataset, load_dataset
from nas.data.published import as_published
from nas.data.record import DataRecord, record_of
from nas.latency import make_device
from nas.nn.weights import IMAGENET, Variables, split_source
from nas.records import JSON
from nas.report.front import unconfirmed
from nas.tasks import outputs, task_of
from nas.workflows.custom import Custom
from nas.workflows.default_device import resolved
from nas.workflows.export import Made, available, make_bundle
from nas.workflows.export.formats import missing
from nas.workflows.prepared import prepared, with_resize_of
from nas.workflows.progress import Progress
from nas.workflows.recorded import recorded

KEPT = ("seed", "recipe", "dataset", "weights", "train_s", "valid", "test", "versions", "target_ms", "measured_ms")


class BundleSettings(Protocol):
    """The settings of an export with weights."""

    @property
    def arch(self) -> str | None: ...
    @property
    def weights(self) -> str | None: ...
    @property
    def formats(self) -> tuple[str, ...] | None: ...
    @property
    def dataset(self) -> Mapping[str, JSON] | None: ...
    @property
    def device(self) -> Mapping[str, JSON]: ...
    @property
    def out(self) -> str | None: ...
    @property
    def calibrate(self) -> int: ...
    @property
    def preprocess(self) -> bool: ...
    @property
    def postprocess(self) -> bool: ...


def export_bundle(command: BundleSettings, progress: Progress, custom: Custom) -> Made:
    """Writes the bundle. Raises ValueError for what does not fit together; leaves all or nothing."""
    source = command.weights
    assert source is not None
    origin, weights = split_source(source)
    if origin != IMAGENET and not weights.is_file():
        raise ValueError(f"weights: {weights}: no such file")
    record = {} if origin else _record(weights.with_name("result.json"))
    settings = command.dataset or record.get("dataset")
    if custom.dataset is None and (not settings or "content" in settings):  # arrays, which no settings bring back
        raise ValueError("dataset: expected the dataset that the network was trained on, such as dataset=digits")
    names = _formats(command.formats, progress)
    arch = custom.arch or find_arch(command.arch or str(weights.with_name("arch.yaml")), "arch")
    arch, line = as_published(arch, source)
    if line:
        progress.message(line)
    dataset = custom.dataset or load_dataset(with_resize_of(settings or {}, source, arch.resolution))
    _check_fit(arch, dataset)
    data = _trained_with(source, dataset, progress)
    variables = whole_weights(source, arch, progress.message)
    return make_bundle(
        Path(command.out).expanduser() if command.out else weights.with_name("bundle"), arch, variables, dataset,
        [name for name in names if name != "int8"], with_int8="int8" in names, latencies=measured(command.device, arch, progress.message),
        origin={key: record[key] for key in KEPT if key in record}, calibrate=command.calibrate, data=data, preprocess=command.preprocess,
        postprocess=command.postprocess,
    )  # fmt: skip


def _trained_with(weights: str, dataset: Dataset, progress: Progress) -> DataRecord:
    """The record beside the weights, which says what the outputs mean; of weights without one, the dataset as their library has it."""
    if (data := recorded(weights)) is None:
        return record_of(prepared(dataset, weights)[0])
    data.check(dataset)
    if data.digest != dataset.digest:
        progress.message(
            "dataset: other images than the network was trained on; test figures and int8 ranges are of those of now"
        )
    return data


def _record(path: Path) -> Mapping[str, JSON]:
    try:
        record = parse_json(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a result of nas train: {error}") from None
    return record if isinstance(record, dict) else {}


def _formats(expected: tuple[str, ...] | None, progress: Progress) -> list[str]:
    found: list[str] = available(None if expected is None else [name for name in expected if name != "int8"])
    if expected is not None:
        return [*found, *(["int8"] if "int8" in expected else [])]
    for name in ("onnx", "tflite"):
        if package := missing(name):
            progress.message(f"{name} is left out: it needs the package {package}")
    return [*found, "int8"] if "onnx" in found else found


def _check_fit(arch: Arch, dataset: Dataset) -> None:
    for key, expected in (("channels", dataset.channels), ("classes", outputs(task_of(arch), arch, dataset))):
        if getattr(arch, key) != expected:
            raise ValueError(f"dataset: {dataset.name} has {expected} {key}, the architecture {getattr(arch, key)}")


def whole_weights(weights: str, arch: Arch, message: Callable[[str], object] = lambda line: None) -> Variables:
    """The arrays of a weights file, for every layer; `message` gets its notes. Raises ValueError where some are missing."""
    from nas.convert import starting_weights

    try:
        imported = starting_weights(weights, lower(arch), 0)
    except ValueError as error:
        raise ValueError(f"weights: {error}") from None
    if imported.fresh:
        raise ValueError(f"weights: {', '.join(imported.fresh)} are not for {arch.classes} classes")
    for note in imported.notes:
        message(f"weights: {note}")
    return imported.variables


def measured(devices: Mapping[str, Mapping[str, JSON]], arch: Arch, message: Callable[[str], object]) -> dict[str, float]:
    """Milliseconds of a network over time on each device, by what the model card calls it.

    Args:
        devices: Settings by name.
        arch: The network.
        message: Receives a line for each device, and one where the machine was not steady.
    """
    found = {}
    for name, device in resolved(devices)[0].items():
        message(f"measuring on {name} ...")
        (row,) = make_device(device, f"device.{name}").verify([arch], [])
        machine, loose = row.info.get("machine"), unconfirmed({name: row})
        for line in loose:
            message(line)
        title = f"{name} ({machine})" if machine else name
        found[f"{title}, not confirmed" if loose else title] = row.latency_ms
    return found
