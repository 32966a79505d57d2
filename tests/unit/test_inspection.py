"""The closer look at the best network: counts that are right, samples that are what they say, names that stay text."""

from __future__ import annotations

import base64
import dataclasses
import io
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from PIL import Image

import small_embedding
from nas.arch.blocks import lower
from nas.evaluators import inspection
from nas.evaluators.inspection import SAMPLES, inspectable, inspected
from nas.explain.taps import last_map
from nas.nn.network import init
from nas.report.inspection import inspection as markup
from small_training import SMALL, dataset
from traced import count_traces


@pytest.fixture(scope="module")
def traced() -> list[int]:
    return []


@pytest.fixture(scope="module")
def found(traced: list[int]) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        counts = count_traces(monkeypatch)
        looked = inspected(SMALL, init(lower(SMALL), 0), dataset(), 8)
    traced.extend(counts)
    return looked


def test_the_network_is_compiled_once_and_maps_need_no_more_than_its_head(found: dict[str, Any], traced: list[int]) -> None:
    graph = lower(SMALL)
    assert traced == [len(graph.nodes) - 1, len(graph.nodes) - 1 - last_map(graph)]


def test_the_matrix_counts_every_image_once(found: dict[str, Any]) -> None:
    labels = dataset().valid.targets
    assert [sum(row) for row in found["confusion"]] == np.bincount(labels, minlength=3).tolist()
    expected = [found["confusion"][i][i] / sum(found["confusion"][i]) for i in range(3)]
    assert found["accuracy"] == pytest.approx(expected)


def test_samples_are_images_of_their_class(found: dict[str, Any]) -> None:
    images, labels = dataset().valid.images, dataset().valid.targets
    assert 0 < len(found["samples"]) <= SAMPLES
    for sample in found["samples"]:
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(sample["png"]))))
        rows = [i for i in range(len(images)) if np.array_equal(np.asarray(images)[i, ..., 0], picture)]
        assert sample["label"] in {int(labels[i]) for i in rows}
        assert Image.open(io.BytesIO(base64.b64decode(sample["map"]))).size == (inspection.SIDE, inspection.SIDE)


def test_right_ones_of_all_classes_come_first_and_the_surest_mistakes_last() -> None:
    labels, found = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 1, 0, 1, 2])
    probability = np.full((6, 3), 0.1)
    probability[np.arange(6), found] = [0.9, 0.8, 0.7, 0.6, 0.95, 0.5]
    assert inspection.chosen(labels, found, probability) == [0, 2, 5, 1, 4, 3]


@pytest.mark.parametrize("classes", [3, 40])
def test_class_names_stay_text(classes: int) -> None:
    names = ["<script>alert(1)</script>", '"&', *map(str, range(2, classes))]
    matrix = np.eye(classes, dtype=int).tolist()
    sample = {"png": "", "map": "QQ==", "label": 0, "class": 1, "probability": 0.5}
    data = {"classes": names, "accuracy": [0.5] * classes, "samples": [sample], "confusion": matrix if classes == 3 else None}
    text = markup(data).replace("<br>", "<br/>").replace("<p class=note>", "<p>").replace("<td class=n>", "<td>")
    tree = ET.fromstring(f"<div>{text}</div>")
    assert not list(tree.iter("script"))
    assert any(names[0] in "".join(one.itertext()) for one in tree.iter())


@pytest.mark.parametrize("map_, pictures", [({}, 1), ({"map": "QQ=="}, 2)], ids=["of an older journal", "with its map"])
def test_a_sample_is_shown_with_its_map_where_there_is_one(map_: dict[str, str], pictures: int) -> None:
    sample = {"png": "QQ==", "label": 0, "class": 1, "probability": 0.5, **map_}
    text = markup({"classes": ["a", "b"], "accuracy": [0.5, 0.5], "samples": [sample], "confusion": None})
    assert text.count("<img") == pictures
    assert ("Grad-CAM" in text) == bool(map_)


def test_networks_without_probabilities_of_classes_are_not_inspected() -> None:
    bars, places = dataset(), small_embedding.dataset()
    assert inspectable(SMALL, bars)
    assert not inspectable(small_embedding.EMBEDDER, places)
    assert not inspectable(small_embedding.EMBEDDER, bars)
    assert not inspectable(SMALL, dataclasses.replace(bars, classes=()))
