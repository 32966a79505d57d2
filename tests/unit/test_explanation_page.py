"""The page of explanations: names stay text, and what there is not is left out."""

from __future__ import annotations

from nas.arch.blocks import lower
from nas.arch.receptive import layer_fields
from nas.report.explanation import Shown, explanation_page
from small_bundle import ARCH

EVIL = "<script>alert(1)</script>"


def test_names_stay_text() -> None:
    page = explanation_page([Shown(EVIL, f'"{EVIL}', {"image": b"x", f"features-{EVIL}": b"x"})], None, (), b"s")
    assert EVIL not in page
    assert page.count("&lt;script&gt;") == 4  # the heading has two, the feature map's title and its alternative text one each


def test_the_page_shows_what_there_is() -> None:
    fields = layer_fields(lower(ARCH))
    page = explanation_page([Shown("a.png", "cat 93.4%", {"image": b"1", "grad_cam": b"2"})], b"3", fields, b"4")
    assert page.count("<img") == 4
    assert "the strongest of the image" in page
    for words in ("a.png: cat 93.4%", "<b>Grad-CAM</b>", "stages.0.1", "Filters of the first convolution"):
        assert words in page, words
    assert "<b>saliency</b>" not in page
    assert "Filters of the first convolution" not in explanation_page([], None, fields, b"4")
