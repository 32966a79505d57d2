"""What a network's answers rest on, as a single page: pictures of images, filters, and the receptive field of each layer."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from nas.arch.receptive import ReceptiveField
from nas.report import svg
from nas.report.html import render, section
from nas.report.tables import number_cell, table

# What each picture shows, by the end of its file's name.
NOTES = {
    "image": ("image", "the image as the network had it"),
    "cam": ("CAM", "evidence for the class at each position of the last feature map"),
    "grad_cam": ("Grad-CAM", "evidence at each position of a feature map, its channels weighted by the gradient of the score"),
    "saliency": ("saliency", "how strongly the score reacts to a small change of each pixel"),
    "smooth_grad": ("SmoothGrad", "the same, averaged over noisy copies of the image"),
    "integrated_gradients": ("integrated gradients", "how much each pixel adds to the score on the way from a black image to this one"),
}
FEATURES = "features-"


@dataclass(frozen=True)
class Shown:
    """An image and its pictures.

    Args:
        image: Its name.
        said: The class that is explained, and its probability.
        pictures: PNG files by what they show.
    """

    image: str
    said: str
    pictures: Mapping[str, bytes]


def explanation_page(images: Sequence[Shown], filters: bytes | None, fields: Sequence[ReceptiveField], scale: bytes) -> str:
    """The page.

    Args:
        images: What is shown of each image.
        filters: The first convolution's as a PNG file.
        fields: Of each layer.
        scale: The colors of the maps, from nothing to the strongest value, as a PNG file.

    Returns:
        A self-contained page.
    """
    body = ["<h1>What the answers rest on</h1>", _legend(images, scale), *map(_image, images)]
    if filters is not None:
        note = "Each from its lowest to its highest weight, dark to light; of color images in red, green and blue."
        note = f'<p class="note">{note}</p>'
        body.append(section("Filters of the first convolution", note + svg.tag("ul", _figure("", filters, "filters"), class_="maps")))
    body.append(section("Receptive fields", _fields(fields)))
    return render("nas explain", "\n".join(body), {"columns": [], "rows": {}})


def _legend(images: Sequence[Shown], scale: bytes) -> str:
    names = dict.fromkeys(name for one in images for name in one.pictures if name in NOTES and name != "image")
    lines = [f"<li><b>{escape(NOTES[name][0])}</b>: {escape(NOTES[name][1])}</li>" for name in names]
    if not lines:
        return ""
    colors = f'<p class="note scale">nothing {_png(scale, "colors from dark over red to light")} the strongest of the image</p>'
    return f'<ul class="note">{"".join(lines)}</ul>{colors}'


def _image(one: Shown) -> str:
    pictures = "".join(_figure(_title(name), content, wide=name.startswith(FEATURES)) for name, content in one.pictures.items())
    return section(f"{one.image}: {one.said}", svg.tag("ul", pictures, class_="maps"))


def _title(name: str) -> str:
    if name.startswith(FEATURES):
        return f"feature map {name.removeprefix(FEATURES)}"
    return NOTES[name][0] if name in NOTES else name


def _figure(title: str, content: bytes, alt: str = "", wide: bool = True) -> str:
    attributes = ' class="wide"' if wide else ""
    return f"<li{attributes}>{_png(content, alt or title)}<span>{escape(title)}</span></li>"


def _png(content: bytes, alt: str) -> str:
    return svg.tag("img", src=f"data:image/png;base64,{base64.b64encode(content).decode()}", alt=alt)


def _fields(fields: Sequence[ReceptiveField]) -> str:
    note = (
        "The side of the part of the image that a position of each layer sees, in pixels, were the image large enough, and the pixels "
        "between neighboring positions. A layer with a gate, such as squeeze-and-excitation, sees the mean of the whole map besides."
    )
    heads = [("layer", False), ("positions", True), ("receptive field", True), ("stride", True), ("gate", False)]
    rows = [
        f"<tr><td class=mono>{escape(f.name)}</td><td class=n>{len(f.rows)} \u00d7 {len(f.columns)}</td>"
        + number_cell(f.size, str(f.size)) + number_cell(f.stride, str(f.stride)) + f"<td>{'yes' if f.pooled else ''}</td></tr>"
        for f in fields
    ]  # fmt: skip
    return f'<p class="note">{note}</p>' + table(heads, rows)
