"""Versions of what a result depends on."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

PACKAGES = ("nas", "jax", "jaxlib", "flax", "optax", "ray", "hydra-core", "numpy", "scikit-learn", "pyarrow", "pillow")


def versions() -> dict[str, str]:
    """Versions of Python, the platform and the packages that are installed; nothing is imported."""
    found = {"python": sys.version.split()[0], "platform": platform.platform(terse=True), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
