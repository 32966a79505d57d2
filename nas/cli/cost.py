"""`nas cost`: parameters, multiply-adds and activation memory of an architecture."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nas.arch import Arch, dropped_strides
from nas.arch.blocks import arch_id
from nas.arch.find import find_arch
from nas.cli.invocation import Invocation
from nas.core.plugins import load_plugins
from nas.core.settings import build
from nas.core.text import aligned
from nas.cost import cost, cost_json, cost_table
from nas.records import JSON, Measurement
from nas.report.drawing import architecture_svg
from nas.report.format import label, show
from nas.report.front import unconfirmed
from nas.space import load_space
from nas.tasks import example
from nas.workflows.cost import QUANTILES, latencies, space_quantiles


@dataclass(frozen=True)
class CostCommand:
    """The keys of conf/cost.yaml."""

    arch: str | None = None
    space: str | None = None
    device: Mapping[str, JSON] = field(default_factory=dict)
    resolution: int | None = None
    channels: int | None = None
    classes: int | None = None
    width: float | None = None
    depth: float | None = None
    json: bool = False
    plot: str | None = None
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.arch is None) == (self.space is None):
            raise ValueError("arch: must be given, as in arch=.., or space=<name or file>; one of the two; see nas cost --help")
        if self.space is not None and self.plot is not None:
            raise ValueError("plot: draws an architecture, with arch=")
        for key in ("width", "depth"):
            if getattr(self, key) is not None and self.arch is None:
                raise ValueError(f"{key}: multiplies an architecture, with arch=")
        for key, high in (("resolution", 8192), ("channels", 65_536), ("classes", 1_000_000)):
            value = getattr(self, key)
            if value is not None and not 1 <= value <= high:
                raise ValueError(f"{key}: expected 1 to {high}, got {value}")


def show_cost(call: Invocation) -> None:
    command = build(CostCommand, call.config, "")
    load_plugins(command.plugins, [os.getcwd()])
    if command.space is not None:
        _show_space(command, command.space)
        return
    assert command.arch is not None
    arch = find_arch(command.arch, "arch", width=command.width, depth=command.depth)
    fitted = arch.with_io(command.resolution, command.channels, command.classes)
    counted = cost(fitted)
    if command.plot:
        save_plot(Path(command.plot), fitted)
    if command.json:
        print(json.dumps({**cost_json(fitted, counted), **{f"latency_ms/{m.device}": m.latency_ms for m in _measured(command, fitted)}}))
        return
    print(
        f"{fitted.name}  {fitted.resolution} px, {fitted.channels} channels, {fitted.classes} classes  (id {arch_id(fitted)})"
    )
    if dropped := dropped_strides(arch, fitted):
        print(f"stride 1 in {', '.join(dropped)}, so that small images keep their size")
    print(aligned(cost_table(counted), left=3))
    for m in _measured(command, fitted):
        print(f"latency on {m.device}: {m.latency_ms:.3g} ms, 95th percentile {m.p95_ms:.3g} ms, {m.repeats} repeats")
        for line in unconfirmed({m.device: m}):
            print(line)


def _measured(command: CostCommand, arch: Arch) -> list[Measurement]:
    return latencies(arch, command.device) if command.device else []


def _show_space(command: CostCommand, name: str) -> None:
    space = load_space(name).fit(command.resolution, command.channels or 3, command.classes or 1000)
    found = space_quantiles(space, command.device)
    if command.json:
        print(json.dumps({name: dict(zip(map(str, QUANTILES), values, strict=True)) for name, values in found.items()}))
        return
    one = example(space)
    print(f"{space.name}  {one.resolution} px, {one.channels} channels, {one.classes} classes")
    heads = ["smallest", *(f"{100 * q:.0f} %" for q in QUANTILES[1:-1]), "largest"]
    print(aligned([["", *heads], *([label(n), *(show(n, v) for v in values)] for n, values in found.items())]))
    print("\nThat fraction of the architectures is at or below a value: a limit at the value of 25 % leaves a quarter of the space.")


def save_plot(path: Path, arch: Arch) -> None:
    """Writes the drawing of an architecture. Raises ValueError for another ending than `.svg`, or where it cannot be written."""
    if path.suffix != ".svg":
        raise ValueError(f"plot: expected a file that ends in .svg, got {str(path)!r}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(architecture_svg(arch), encoding="utf-8")
    except OSError as error:
        raise ValueError(f"plot: {path}: {error.strerror}") from error
