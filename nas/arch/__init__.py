"""Architectures as values: `Arch`, `Stage` and `Block`, their YAML form, and the graphs that blocks build."""

from nas.arch.arch import (
    MAX_LAYERS,
    MAX_RESOLUTION,
    MAX_STAGES,
    MAX_WIDTH,
    SCALARS,
    Arch,
    Block,
    Knob,
    Stage,
    arch_from_dict,
    dropped_strides,
    placed_strides,
)
from nas.arch.checks import as_name, choice, is_list, is_mapping, is_word, known_keys, mapping, number, shown, whole

__all__ = [
    "MAX_LAYERS",
    "MAX_RESOLUTION",
    "MAX_STAGES",
    "MAX_WIDTH",
    "SCALARS",
    "Arch",
    "Block",
    "Knob",
    "Stage",
    "arch_from_dict",
    "as_name",
    "choice",
    "dropped_strides",
    "is_list",
    "is_mapping",
    "is_word",
    "known_keys",
    "mapping",
    "number",
    "placed_strides",
    "shown",
    "whole",
]
