"""Spaces by name or path."""

from __future__ import annotations

from pathlib import Path

from nas.arch.files import find_file
from nas.core.paths import SPACES
from nas.core.yamlio import read_yaml
from nas.space.reading import space_from_dict
from nas.space.space import Space


def load_space(name: str, spaces: Path = SPACES) -> Space:
    """The space (or the architecture, a space of size one) of that name, or in that file."""
    path = find_file(name, spaces)
    ours = path.parent in (spaces, spaces / "reference")
    return space_from_dict(read_yaml(path), path.stem if ours else str(path))
