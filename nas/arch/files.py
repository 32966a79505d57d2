"""Architectures by name or path: references that come with nas, and YAML files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from nas.arch import Arch, arch_from_dict, as_name, mapping, shown
from nas.arch.blocks import lower
from nas.core.paths import SPACES
from nas.core.settings import nearest
from nas.core.yamlio import read_yaml

SPACE_ONLY = ("forbid", "divisor")  # keys that only a space has


def load_arch(name: str | Path, spaces: Path = SPACES) -> Arch:
    """A reference architecture by name, or one from a file. Raises ValueError for a space with choices in it."""
    path = find_file(str(name), spaces)
    return arch_of(mapping(read_yaml(path), str(path)), str(path), as_name(path.stem))


def arch_of(data: Mapping[str, object], where: str, name: str = "arch") -> Arch:
    """The architecture of a file's content; `where` opens the messages of errors, `name` is for one without a name."""
    if '"one_of":' in json.dumps(data, default=str):
        raise ValueError(f"{where}: a space with choices in it; expected an architecture")
    arch = arch_from_dict({"name": name, **{k: v for k, v in data.items() if k not in SPACE_ONLY}}, where)
    lower(arch, where)
    return arch


def find_file(name: str, spaces: Path = SPACES, key: str = "") -> Path:
    """Resolves a name among the spaces and reference architectures, or a path.

    Args:
        name: What the user wrote.
        spaces: The folder of the named spaces.
        key: The setting that it is the value of, with which errors begin.

    Raises:
        ValueError: With the nearest name.
    """
    try:
        return _found(name, spaces)
    except ValueError as error:
        raise ValueError(f"{key}: {error}" if key else str(error)) from None


def _found(name: str, spaces: Path) -> Path:
    if not name or "\0" in name or len(name) > 4000:
        raise ValueError(f"{shown(name)}: no name of a space or file")
    known = space_names(spaces)
    if name in known:
        return known[name]
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or "/" in name:
        if path.is_dir():
            raise ValueError(f"{path}: a folder; name the YAML file in it")
        if path.is_file():
            return path
        raise ValueError(f"{path}: no such file")
    near = nearest(name, known)
    raise ValueError(
        f"unknown space or architecture {name!r}; "
        + (f"did you mean {near!r}?" if near else f"known: {', '.join(known)}")
    )


def space_names(spaces: Path = SPACES) -> dict[str, Path]:
    """Names of the spaces and reference architectures that come with nas, spaces first."""
    return {path.stem: path for folder in (spaces, spaces / "reference") for path in sorted(folder.glob("*.yaml"))}
