"""A space of an architecture's shrunk forms, so that a device's predictor is fitted where NetAdapt goes."""

from __future__ import annotations

from nas.arch import Arch
from nas.records import JSON
from nas.space import Space
from nas.workflows.adapt.proposals import STEM, STEP, kernel_of, smaller_kernels, tied

FRACTIONS = (0.25, 0.5, 0.75)


def shrunk_space(arch: Arch) -> Space:
    """Expansions and bottlenecks of an absolute architecture at a quarter, a half, three quarters and all of their width.

    With every smaller kernel, and with and without each squeeze-and-excitation, whose cost no other layer shows.
    """
    data = {k: v for k, v in arch.to_dict().items() if k != "stages"}
    layers = [layer.to_dict() for stage in arch.stages for layer in stage.layers]
    for layer in layers:
        if layer.get("hidden"):
            layer["hidden"] = {"one_of": _widths(layer["hidden"])}
        if sizes := smaller_kernels(arch, layer):
            layer["kernel"] = {"one_of": [*sizes[::-1], kernel_of(arch, layer)]}
        if layer.get("se_width"):
            layer["se_width"] = {"one_of": [0, layer["se_width"]]}
    for run in tied(arch):
        if run[0] == STEM:
            continue
        if (width := layers[run[0]].get("width", 0)) and len(found := _widths(width)) > 1:
            choice = {"one_of": {"name": f"width of {run[0]}", "of": found}}
            for row in run:
                layers[row] = {**layers[row], "width": choice}
    stages: list[dict[str, JSON]] = []
    for stage in arch.stages:
        own, layers = layers[: stage.repeat], layers[stage.repeat :]
        stages.append({"stride": stage.stride, "layers": own})
    return Space.from_dict({**data, "stages": stages}, f"{arch.name}: its shrunk forms")


def _widths(width: int) -> list[int]:
    return sorted({width, *(max(STEP, round(fraction * width / STEP) * STEP) for fraction in FRACTIONS if width > STEP)})
