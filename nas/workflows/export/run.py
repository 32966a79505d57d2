"""An architecture in other forms: block strings of TensorFlow or timm, or plain YAML; with weights, a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nas.arch import Arch
from nas.arch.blocks import refuse_private
from nas.arch.blockstrings import format
from nas.arch.find import find_arch, strings_yaml
from nas.core.yamlio import dump_yaml, write_text
from nas.records import JSON
from nas.workflows.custom import NOTHING, Custom
from nas.workflows.export.sources import export_bundle
from nas.workflows.progress import SILENT, Progress
from nas.workflows.run_folder import use_plugins

STRINGS = ("timm", "tf", "yaml")
BUNDLED = ("stablehlo", "source", "onnx", "tflite", "int8")


@dataclass(frozen=True)
class ExportCommand:
    """The keys of conf/export.yaml."""

    arch: str | None = None
    weights: str | None = None
    formats: tuple[Literal["timm", "tf", "yaml", "stablehlo", "source", "onnx", "tflite", "int8"], ...] | None = None
    dataset: Mapping[str, JSON] | None = None
    device: Mapping[str, JSON] = field(default_factory=dict)
    out: str | None = None
    calibrate: int = 256
    preprocess: bool = False
    postprocess: bool = False
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.arch is None and self.weights is None:
            raise ValueError("arch: must be given, as in arch=.., or weights= with an arch.yaml beside it")
        if self.postprocess and self.weights is None:
            raise ValueError("postprocess: is of a trained network, with weights=; leave it out")
        expected = BUNDLED if self.weights else STRINGS
        if self.formats is not None and not self.formats:
            raise ValueError(f"formats: expected at least one of {', '.join(expected)}")
        for name in self.formats or ():
            if name not in expected:
                what = "needs weights=" if name in BUNDLED else "is of an architecture alone, without weights="
                raise ValueError(f"formats: {name} {what}")
        if not 1 <= self.calibrate <= 10**6:
            raise ValueError(f"calibrate: expected 1 to 1000000 images, got {self.calibrate}")


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Args:
        folder: The bundle, or the folder of the files; None where nothing was written.
        files: What was written, by format.
        texts: Block strings or YAML, by format, of an architecture without weights.
        differences: Of each format of a bundle, the largest difference of its logits from the network's.
        accuracy: Of a bundle, on the test split; nan without weights.
        int8_accuracy: The same of each format that was made in 8 bits too.
        metric: The primary metric of the task, which these are values of.
    """

    folder: Path | None
    files: Mapping[str, Path] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    differences: Mapping[str, float] = field(default_factory=dict)
    accuracy: float = float("nan")
    int8_accuracy: Mapping[str, float] = field(default_factory=dict)
    metric: str = "accuracy"


def export(command: ExportCommand, progress: Progress = SILENT, custom: Custom = NOTHING) -> Exported:
    """Writes a bundle of a trained network, or an architecture as text.

    Args:
        command: The settings; with `weights`, a bundle is written, else text.
        progress: Receives messages.
        custom: An architecture or a dataset in place of settings.

    Returns:
        The folder and files, the texts, and how far each format is from the network.

    Raises:
        ValueError: Settings or files do not fit together; nothing is left behind.
    """
    use_plugins(command.plugins)
    if command.weights is not None:
        made = export_bundle(command, progress, custom)
        return Exported(made.folder, made.files, {}, made.differences, made.accuracy, made.int8_accuracy, made.metric)
    arch = custom.arch or find_arch(command.arch or "", "arch")
    refuse_private(arch, "export it")
    texts = {name: _text(arch, name) for name in command.formats or STRINGS[:1]}
    if command.out is None:
        return Exported(None, texts=texts)
    folder = Path(command.out)
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{arch.name}.{name}.yaml" for name in texts}
    for name, path in files.items():
        write_text(path, texts[name])
    return Exported(folder, files, texts)


def _text(arch: Arch, name: str) -> str:
    return dump_yaml(arch.to_dict()) if name == "yaml" else strings_yaml(format(arch, name))
