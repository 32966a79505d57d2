"""Versions of what a result depends on."""

from __future__ import annotations

import importlib
import platform
import sys
from importlib import metadata
from typing import Any

PACKAGES = ("nas", "jax", "jaxlib", "flax", "optax", "ray", "hydra-core", "numpy", "scikit-learn", "pyarrow", "pillow")


def versions() -> dict[str, str]:
    """Versions of Python, the platform and the installed packages of `PACKAGES`; nothing is imported.

    Returns:
        Versions by name.
    """
    found = {"python": sys.version.split()[0], "platform": platform.platform(terse=True), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def needed(module: str, extra: str, what: str = "") -> Any:
    """Imports an optional module.

    Args:
        module: Importable name.
        extra: The extra of nas that installs it; empty: nas itself does, where there is a wheel for the platform.
        what: What needs it, for the message; by default the module.

    Returns:
        The module.

    Raises:
        ValueError: It is not installed; the message has the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = (error.name or module).split(".")[0]
        install = f"'nas[{extra}]'" if extra else package
        raise ValueError(f"{what or module.split('.')[0]}: needs the package {package}: pip install {install}") from None
