"""Spaces by name, path or content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nas.arch.files import find_file
from nas.core.paths import SPACES
from nas.core.yamlio import read_yaml
from nas.space.space import Space


def load_space(space: str | Path | Mapping[str, object] | Space, spaces: Path = SPACES) -> Space:
    """A search space. An architecture is a space of size one.

    Args:
        space: the name of a space that comes with nas, the path of a YAML file, the content of such a file, or a `Space`,
            which is returned as it is.
        spaces: the folder of the named spaces.

    Raises:
        ValueError: one line that names the place, or the nearest name.

    Example:
        >>> load_space("mnasnet").size
        1247968747541495808
    """
    if isinstance(space, Space):
        return space
    if isinstance(space, Mapping):
        return Space.from_dict(space, str(space.get("name", "space")))
    path = find_file(str(space), spaces, "space")
    ours = path.parent in (spaces, spaces / "reference")
    return Space.from_dict(read_yaml(path), path.stem if ours else str(path))
