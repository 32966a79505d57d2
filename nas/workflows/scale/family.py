"""A space around a family of one architecture, so that a device's predictor is fitted where the family lives."""

from __future__ import annotations

from collections.abc import Sequence

from nas.arch import Arch
from nas.space import Space
from nas.workflows.scale.compound import Coefficients, compound

AROUND = (-2.0, -1.0, 0.0, 1.0, 2.0)


def family_space(arch: Arch, coefficients: Coefficients | None = None, around: Sequence[float] = AROUND) -> Space:
    """Depths and widths of each stage and resolutions of the members around an architecture, chosen freely.

    Stages whose layers differ keep the depth and the widths that they have.
    """
    members = [compound(arch, phi, coefficients) for phi in around]
    data = arch.to_dict()
    data["resolution"] = _choice([member.resolution for member in members], arch.resolution)
    for i, stage in enumerate(data["stages"]):
        if "layers" in stage:
            continue
        stage["repeat"] = _choice([member.stages[i].repeat for member in members], arch.stages[i].repeat)
        if stage.get("width"):
            widths = [member.stages[i].layers[0].get("width") for member in members]
            stage["width"] = _choice(widths, stage["width"])
    return Space.from_dict(data, f"{arch.name}: its family")


def _choice(values: list[int], own: int) -> object:
    found = sorted({own, *values})
    return {"one_of": found} if len(found) > 1 else own
