"""Every network that torchvision or timm has too computes what theirs computes, by weights that went through a file; `make parity`."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nas.data.conventions import RULES
from nas.data.crops import cropped, of_timm, of_torchvision
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


def test_torchvision_crops_as_the_table_says() -> None:
    """Every published file of a convolutional network that is read; the size is that of 224, or the one in the table."""
    models, seen = importlib.import_module("torchvision").models, 0
    for name in models.list_models(module=models):
        if re.match("vit|swin|maxvit|convnext|regnet", name):
            continue
        for weights in models.get_model_weights(name):
            known = weights.transforms.keywords
            rule, side = of_torchvision(weights.url.rpartition("/")[2].removesuffix(".pth"))
            assert (rule, side or 224) == (cropped("crop", known["crop_size"] / known.get("resize_size", 256)), known["crop_size"]), name
            seen += 1
    assert seen >= 60


@pytest.mark.parametrize("twin", [twin for twin in TWINS if twin.library == "timm"], ids=lambda twin: twin.name)
def test_timm_crops_as_the_table_says(twin: Twin) -> None:
    """The default weights of each network; the table has no more than a name, where `config.json` is not beside the file."""
    known = importlib.import_module("timm").get_pretrained_cfg(twin.theirs)
    rule, _, fraction = of_timm(f"{twin.theirs}.{known.tag}", (known.test_input_size or known.input_size)[1]).partition(":")
    assert rule == RULES[known.crop_mode]
    assert float(fraction or 1) == pytest.approx(known.crop_pct, abs=0.003)
