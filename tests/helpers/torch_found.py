"""Whether torch, torchvision and timm are installed, which the tests of parity with them need and nothing else."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

LIBRARIES = ("torch", "torchvision", "timm")
MISSING = [name for name in LIBRARIES if find_spec(name) is None]
needs_torch = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}; pip install --group parity")
