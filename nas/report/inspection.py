"""Images with a network's answers, and its confusion matrix or figures by class, as markup."""

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
    if "pictures" in data:
        return _pictures(data)
    classes = [str(name) for name in data["classes"]]
    parts = [_samples(data["samples"], classes)]
    if data["confusion"]:
        parts.append(_matrix(data["confusion"], classes))
    else:
        parts.append(_worst(data["accuracy"], classes))
    return "".join(parts)


def _pictures(data: Mapping[str, JSON]) -> str:
    """What `nas.evaluators.pictures.pictured` gave."""
    items = [
        f"<li>{_image(one['jpeg'], 'a validation image with the prediction', 'jpeg')}<span>loss {float(one['loss']):.2f}</span></li>"
        for one in data["pictures"]
    ]
    note = f"Of {data['images']:,} images of the validation split those with the highest loss. {data.get('note', '')}".strip()
    parts = [f'<p class="note">{escape(note)}</p><ul class="samples pictures">{"".join(items)}</ul>']
    if curves := data.get("curves"):
        parts.append(_curves(curves, [str(name) for name in data.get("axes", ("x", "y"))]))
    if table := data.get("table"):
        parts.append(_table(table))
    return "".join(parts)


def _table(rows: Sequence[Sequence[JSON]]) -> str:
    """A row of names, and rows of texts. A column `color` becomes a spot before the column in front of it."""
    names = [str(name) for name in rows[0]]
    spot = names.index("color") if "color" in names else -1
    head = "".join(f"<th{' class=n' if i else ''}>{escape(name)}</th>" for i, name in enumerate(names) if i != spot)
    body = "".join(f"<tr>{_row([str(cell) for cell in row], spot)}</tr>" for row in rows[1:])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _row(cells: Sequence[str], spot: int) -> str:
    color = f'<span class="spot" style="background:{escape(cells[spot])}"></span>' if spot >= 0 else ""
    cells = [cell for i, cell in enumerate(cells) if i != spot]
    return f"<td>{color}{escape(cells[0])}</td>" + "".join(f"<td class=n>{escape(cell)}</td>" for cell in cells[1:])


def _curves(curves: Sequence[Mapping[str, JSON]], axes: Sequence[str]) -> str:
    """Lines in a square from 0 to 1, such as precision by recall."""
    side, left, top = 300, 46, 10
    parts = []
    for i in range(6):
        at = side * i / 5
        parts.append(svg.tag("line", x1=left, x2=left + side, y1=top + at, y2=top + at, class_="grid"))
        parts.append(svg.text(left - 6, top + side - at + 4, f"{i / 5:.1f}", class_="tick", text_anchor="end"))
        parts.append(svg.text(left + at, top + side + 16, f"{i / 5:.1f}", class_="tick", text_anchor="middle"))
    for one in curves:
        points = " ".join(f"{left + side * float(x):.1f},{top + side * (1 - float(y)):.1f}" for x, y in one["points"])
        title = svg.tag("title", escape(str(one["name"])))
        parts.append(svg.tag("polyline", title, points=points, fill="none", stroke=str(one["color"]), stroke_width=2))
    parts.append(svg.text(left + side / 2, top + side + 34, axes[0], class_="name", text_anchor="middle"))
    parts.append(svg.text(12, top + side / 2, axes[1], class_="name", text_anchor="middle", transform=f"rotate(-90 12 {top + side / 2})"))
    width, height = left + side + 16, top + side + 42
    plot = svg.tag("svg", "".join(parts), class_="plot", viewBox=f"0 0 {width} {height}", role="img", aria_label=f"{axes[1]} by {axes[0]}")
    return svg.tag("figure", plot, style=f"max-width:{width}px")


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


def _image(content: str, alt: str, kind: str = "png") -> str:
    return svg.tag("img", src=f"data:image/{kind};base64,{content}", alt=alt)


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
