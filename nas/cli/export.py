"""`nas export`: an architecture in other forms: block strings of TensorFlow or timm, or plain YAML; with weights, a bundle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nas.arch import Arch
from nas.arch.blockstrings import format
from nas.arch.find import find_arch, strings_yaml
from nas.cli.invocation import Invocation
from nas.core.plugins import load_plugins
from nas.core.settings import build
from nas.core.yamlio import dump_yaml, write_text
from nas.workflows.export.sources import export_bundle

STRINGS = ("timm", "tf", "yaml")
BUNDLED = ("stablehlo", "source", "onnx", "tflite", "int8")


@dataclass(frozen=True)
class ExportCommand:
    """The keys of conf/export.yaml."""

    arch: str | None = None
    weights: str | None = None
    formats: tuple[Literal["timm", "tf", "yaml", "stablehlo", "source", "onnx", "tflite", "int8"], ...] | None = None
    dataset: Mapping[str, Any] | None = None
    device: Mapping[str, Any] = field(default_factory=dict)
    out: str | None = None
    calibrate: int = 256
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.arch is None and self.weights is None:
            raise ValueError("arch: must be given, as in arch=.., or weights= with an arch.yaml beside it")
        expected = BUNDLED if self.weights else STRINGS
        if self.formats is not None and not self.formats:
            raise ValueError(f"formats: expected at least one of {', '.join(expected)}")
        for name in self.formats or ():
            if name not in expected:
                what = "needs weights=" if name in BUNDLED else "is of an architecture alone, without weights="
                raise ValueError(f"formats: {name} {what}")
        if not 1 <= self.calibrate <= 10**6:
            raise ValueError(f"calibrate: expected 1 to 1000000 images, got {self.calibrate}")


def export(call: Invocation) -> None:
    command = build(ExportCommand, call.config, "")
    load_plugins(command.plugins, [os.getcwd()])
    if command.weights is not None:
        export_bundle(command)
        return
    assert command.arch is not None
    arch = find_arch(command.arch)
    texts = {form: _text(arch, form) for form in command.formats or STRINGS[:1]}
    if command.out is None:
        print("---\n".join(texts.values()), end="")
        return
    folder = Path(command.out)
    folder.mkdir(parents=True, exist_ok=True)
    for form, text in texts.items():
        path = folder / f"{arch.name}.{form}.yaml"
        write_text(path, text)
        print(path)


def _text(arch: Arch, form: str) -> str:
    return dump_yaml(arch.to_dict()) if form == "yaml" else strings_yaml(format(arch, form))
