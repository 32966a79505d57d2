"""`nas export`: an architecture in other forms: block strings of TensorFlow or timm, or plain YAML."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nas.arch import Arch
from nas.blockstrings import format
from nas.cli.arch import find_arch, strings_yaml
from nas.cli.hydra_door import Invocation
from nas.plugins import load_plugins
from nas.settings import build
from nas.yamlio import dump_yaml, write_text


@dataclass(frozen=True)
class ExportCommand:
    """The keys of conf/export.yaml."""

    arch: str
    formats: tuple[Literal["timm", "tf", "yaml"], ...] = ("timm",)
    out: str | None = None
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.formats:
            raise ValueError("formats: wanted at least one of timm, tf, yaml")


def export(call: Invocation) -> None:
    command = build(ExportCommand, call.config, "")
    load_plugins(command.plugins, [os.getcwd()])
    arch = find_arch(command.arch)
    texts = {form: _text(arch, form) for form in command.formats}
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
