"""Images with a network's answers, and its confusion matrix, as markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from nas.records import JSON
from nas.report import svg

CELL = 30
NAME = 18  # letters of a class' name at the edge of the matrix
LOW = 0.5  # an image that is this sure stands on a light cell


def inspection(data: Mapping[str, JSON]) -> str:
    """What a network answers on the validation split; `data` is what `nas.evaluators.inspection.inspected` gave."""
    classes = [str(name) for name in data["classes"]]
    parts = [_samples(data["samples"], classes)]
    if data["confusion"]:
        parts.append(_matrix(data["confusion"], classes))
    else:
        parts.append(_worst(data["accuracy"], classes))
    return "".join(parts)


def _samples(samples: Sequence[Mapping[str, JSON]], classes: Sequence[str]) -> str:
    items = []
    for one in samples:
        label, found = (classes[int(one[key])] for key in ("label", "class"))
        said = f"{found} {100 * one['probability']:.0f} %"
        right = one["label"] == one["class"]
        text = escape(said) if right else f'<span class="bad">{escape(said)}</span><br>is {escape(label)}'
        image = _image(one["png"], f"an image of {label}")
        image += _image(one["map"], f"where the evidence for {found} is in it") if one.get("map") else ""
        items.append(f"<li>{image}<span>{text}</span></li>")
    note = "Images of the validation split with the network's answer; in red, mistakes that it was surest of."
    if any(one.get("map") for one in samples):
        note += " Below each, Grad-CAM of that answer: where in the image its evidence is, from dark over red to light."
    return f'<p class="note">{note}</p><ul class="samples">{"".join(items)}</ul>'


def _image(png: str, alt: str) -> str:
    return svg.tag("img", src=f"data:image/png;base64,{png}", alt=alt)


def _matrix(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    short = [name if len(name) <= NAME else name[: NAME - 1] + "\u2026" for name in classes]
    left = 24 + int(max(map(len, short)) * svg.CHAR_WIDTH)
    top, size = left + 8, len(classes) * CELL
    parts = [svg.text(8, 16, "rows: the true class; columns: the answer")]
    for i, row in enumerate(counts):
        total = sum(row)
        baseline = top + i * CELL + CELL / 2 + 4
        parts.append(svg.text(left - 6, baseline, short[i], class_="name", text_anchor="end"))
        x = left + i * CELL + CELL / 2 + 4
        parts.append(svg.text(x, top - 6, short[i], class_="name", transform=f"rotate(-90 {x} {top - 6})"))
        for j, count in enumerate(row):
            fraction = count / total if total else 0.0
            kind = "right" if i == j else "wrong"
            title = svg.tag("title", escape(f"{classes[i]} taken for {classes[j]}: {count} of {total}"))
            box = svg.tag("rect", x=left + j * CELL, y=top + i * CELL, width=CELL - 2, height=CELL - 2, rx=3,
                          class_=f"cell {kind}", fill_opacity=f"{0.06 + 0.94 * fraction:.2f}" if count else "0.04")  # fmt: skip
            parts.append(svg.group([title, box]))
            if count:
                light = " light" if fraction > LOW else ""
                parts.append(svg.text(left + j * CELL + CELL / 2 - 1, baseline, str(count), class_=f"count{light}", text_anchor="middle"))
        if total:
            parts.append(svg.text(left + size + 6, baseline, f"{row[i] / total:.0%}", class_="count"))
    parts.append(svg.text(left + size + 6, top - 6, "right", class_="name"))
    width, height = left + size + 52, top + size + 8
    plot = svg.tag("svg", "".join(parts), class_="plot", viewBox=f"0 0 {width} {height}", role="img", aria_label="the confusion matrix")
    return svg.tag("figure", plot, style=f"max-width:{width}px")


def _worst(accuracy: Sequence[float | None], classes: Sequence[str]) -> str:
    known = sorted((value, name) for value, name in zip(accuracy, classes, strict=True) if value is not None)
    rows = "".join(f"<tr><td>{escape(name)}</td><td class=n>{100 * value:.1f} %</td></tr>" for value, name in known[:10])
    return f"<p class=note>The classes that it knows least:</p><table><tbody>{rows}</tbody></table>"
