"""Drawings of architectures: every known network, and a network of every space."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from nas.arch.find import find_arch
from nas.report import svg
from nas.report.drawing import BOX, architecture_svg
from nas.report.trajectory import curves_svg
from nas.space import load_space
from places import ROOT

SPACES = sorted(path.stem for path in (ROOT / "search_spaces").glob("*.yaml"))
KNOWN = sorted(path.stem for path in (ROOT / "search_spaces" / "reference").glob("*.yaml"))
NAMESPACE = "{http://www.w3.org/2000/svg}"


def drawn(text: str) -> ET.Element:
    return ET.fromstring(text)


@pytest.mark.parametrize("name", SPACES)
def test_every_space_can_be_drawn(name: str) -> None:
    space = load_space(name)
    arch = space.decode(space.sample(np.random.default_rng(0)))
    blocks = [one for one in drawn(architecture_svg(arch)).iter(f"{NAMESPACE}rect") if "block" in one.get("class", "")]
    assert len(blocks) == 2 + sum(stage.repeat for stage in arch.stages)


@pytest.mark.parametrize("name", KNOWN)
def test_the_texts_of_a_box_do_not_meet(name: str) -> None:
    for group in drawn(architecture_svg(find_arch(name))).iter(f"{NAMESPACE}g"):
        for line in {one.get("y") for one in group.iter(f"{NAMESPACE}text")}:
            texts = [one for one in group.iter(f"{NAMESPACE}text") if one.get("y") == line]
            length = sum(svg.CHAR_WIDTH * len(one.text or "") for one in texts)
            assert length <= BOX - 16, [one.text for one in texts]


def test_the_text_of_a_drawing_is_escaped() -> None:
    arch = replace(find_arch("lenet5"), name='<script>&"')
    texts = [one.text for one in drawn(architecture_svg(arch)).iter(f"{NAMESPACE}text")]
    assert any((text or "").startswith('<script>&":') for text in texts)


def test_epochs_are_counted_in_whole_numbers() -> None:
    few = curves_svg([("loss", [(1, 2.3), (2, 2.1), (3, 2.0)])], "epoch", "loss")
    assert ">2<" in few
    assert "1.5" not in few
    assert "1.50<" in curves_svg([("loss", [(1.0, 2.3), (1.7, 2.1), (2.4, 2.0)])], "ms", "loss")
