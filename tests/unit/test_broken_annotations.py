"""Broken annotations and masks are one line each, whatever is wrong with them; nightly five hundred of each kind."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from broken_annotations import BROKEN
from nas.data import load_dataset


def refused(kind: str, root: Path, seeds: range) -> int:
    """How many of the broken datasets are refused, each in one line that names the dataset; the others happen to be whole."""
    count = 0
    for seed in seeds:
        settings = BROKEN[kind](root / str(seed), random.Random(seed))
        try:
            load_dataset(settings)
        except ValueError as error:
            message = str(error)
            assert message.startswith("dataset"), f"{seed}: {message}"
            assert message.isprintable(), f"{seed}: {message!r}"
            assert len(message) < 600, f"{seed}: {message}"
            count += 1
        shutil.rmtree(root / str(seed))
    return count


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_one_line(kind: str, tmp_path: Path) -> None:
    assert refused(kind, tmp_path, range(30)) > 15


@pytest.mark.nightly
@pytest.mark.parametrize("kind", BROKEN)
def test_five_hundred_broken_files_are_one_line(kind: str, tmp_path: Path) -> None:
    assert refused(kind, tmp_path, range(1000, 1500)) > 250
