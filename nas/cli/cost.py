"""`nas cost`: parameters, multiply-adds and activation memory of an architecture."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from nas.arch import Arch, dropped_strides
from nas.arch.blocks import arch_id
from nas.arch.find import find_arch
from nas.cli.invocation import Invocation
from nas.core.plugins import load_plugins
from nas.core.settings import build
from nas.core.text import aligned
from nas.cost import cost, cost_json, cost_table
from nas.report.drawing import architecture_svg


@dataclass(frozen=True)
class CostCommand:
    """The keys of conf/cost.yaml."""

    arch: str
    resolution: int | None = None
    channels: int | None = None
    classes: int | None = None
    json: bool = False
    plot: str | None = None
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key, high in (("resolution", 8192), ("channels", 65_536), ("classes", 1_000_000)):
            value = getattr(self, key)
            if value is not None and not 1 <= value <= high:
                raise ValueError(f"{key}: expected 1 to {high}, got {value}")


def show_cost(call: Invocation) -> None:
    command = build(CostCommand, call.config, "")
    load_plugins(command.plugins, [os.getcwd()])
    arch = find_arch(command.arch)
    fitted = arch.with_io(command.resolution, command.channels, command.classes)
    counted = cost(fitted)
    if command.plot:
        save_plot(Path(command.plot), fitted)
    if command.json:
        print(json.dumps(cost_json(fitted, counted)))
        return
    print(
        f"{fitted.name}  {fitted.resolution} px, {fitted.channels} channels, {fitted.classes} classes  (id {arch_id(fitted)})"
    )
    if dropped := dropped_strides(arch, fitted):
        print(f"stride 1 in {', '.join(dropped)}, so that small images keep their size")
    print(aligned(cost_table(counted), left=3))


def save_plot(path: Path, arch: Arch) -> None:
    """Writes the drawing of an architecture. Raises ValueError for another ending than `.svg`, or where it cannot be written."""
    if path.suffix != ".svg":
        raise ValueError(f"plot: expected a file that ends in .svg, got {str(path)!r}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(architecture_svg(arch), encoding="utf-8")
    except OSError as error:
        raise ValueError(f"plot: {path}: {error.strerror}") from error
