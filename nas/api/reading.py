"""Reads spaces and architectures, and counts what a network costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nas.api.types import Settings

if TYPE_CHECKING:
    from nas.arch import Arch
    from nas.cost import Cost
    from nas.space import Space


def load_space(space: str | Path | Settings) -> Space:
    """Reads a search space.

    Args:
        space: Name of a space that comes with nas, path of a YAML file, or the content of one.

    Raises:
        ValueError: Naming the place of what is wrong.

    Example:
        >>> import nas
        >>> len(nas.load_space("tiny").genes)
        18
    """
    from nas.space import load_space

    return load_space(space)


def load_arch(arch: str | Path | Settings) -> Arch:
    """Reads an architecture.

    Args:
        arch: Name of a reference architecture, path of a YAML file, block strings, or the content of a file.

    Raises:
        ValueError: Naming the place of what is wrong.

    Example:
        >>> import nas
        >>> nas.load_arch("mobilenet_v3_large").resolution
        224
    """
    from nas.arch.find import find_arch

    return find_arch(arch, "arch")


def cost(
    arch: str | Path | Settings | Arch,
    *,
    resolution: int | None = None,
    channels: int | None = None,
    classes: int | None = None,
    width: float | None = None,
    depth: float | None = None,
) -> Cost:
    """Counts parameters, multiply-adds and activation memory, exactly, layer by layer.

    Args:
        arch: Name of a reference architecture, path, block strings, or an `Arch`.
        resolution: Image size in pixels; None: the architecture's own.
        channels: Channels of the images.
        classes: Classes.
        width: Multiplies the widths, rounded to multiples of 8; the head's grows and never shrinks.
        depth: Multiplies the layers of each stage, rounded up.

    Example:
        >>> import nas
        >>> nas.cost("mobilenet_v3_large").params
        5483032
    """
    from nas.arch.find import find_arch
    from nas.cost import cost as count

    found = find_arch(arch, "arch", width=width, depth=depth)
    return count(found.with_io(resolution, channels, classes))
