"""Every network that torchvision or timm has too computes what theirs computes, by weights that went through a file; `make parity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from torch_found import MISSING, needs_torch

if TYPE_CHECKING or not MISSING:
    from torch_twins import TOLERANCE, TWINS, WIDE_TOLERANCE, Twin, compare
else:
    TWINS = ()

pytestmark = needs_torch


@pytest.mark.parametrize("twin", TWINS, ids=[twin.name for twin in TWINS])
def test_every_network_equals_that_of_torch(twin: Twin, tmp_path: Path) -> None:
    found = compare(twin, tmp_path)
    assert found.wide < WIDE_TOLERANCE
    assert found.single < TOLERANCE


def test_the_twins_are_at_least_45() -> None:
    assert len(TWINS) >= 45
