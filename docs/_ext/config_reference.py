"""The directive `config-reference`: every YAML file under conf/ as a table, written from its own comments.

The first comment lines of a file are its description, the comment behind a value (or on the lines above it) is the
meaning of that key. A key that a file leaves without a comment has the meaning that the files beside it give it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

CONF = Path(__file__).resolve().parents[2] / "conf"
LINE = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_][\w./@]*):(?: +(?P<value>[^#]*?))?\s*(?:#\s?(?P<comment>.*))?$")
OBVIOUS = ("name", "defaults")  # `name` is the file's own; `defaults` composes other files
PIECES = re.compile(r"(`[^`]+`|arXiv:\d{4}\.\d{4,5}|https?://\S+)")


@dataclass
class Entry:
    """A key of a file: its dotted name, the default as written, and what the comments say."""

    key: str
    default: str
    meaning: str


@dataclass
class Page:
    """A file: its description, the groups that it composes, its keys."""

    path: Path
    about: str
    groups: dict[str, Any] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)


def read(path: Path) -> Page:
    """The file as a page."""
    text = path.read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    about = " ".join(_head(text)).removeprefix(f"nas {path.stem}: ")
    page = Page(path, about[:1].upper() + about[1:], _groups(data.get("defaults", [])))
    page.entries = list(_entries(text, data))
    return page


def read_folder(folder: Path) -> list[Page]:
    """Its files, where a key without a comment borrows the one of a file beside it."""
    pages = [read(path) for path in sorted(folder.glob("*.yaml"))]
    known = {entry.key: entry.meaning for page in reversed(pages) for entry in page.entries if entry.meaning}
    for entry in (entry for page in pages for entry in page.entries):
        entry.meaning = entry.meaning or (known.get(entry.key, "") if folder != CONF else "")
    return pages


def _head(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        if not line.startswith("# @package"):
            yield line.lstrip("# ").strip()


def _groups(defaults: list[Any]) -> dict[str, Any]:
    found = {}
    for item in defaults:
        if isinstance(item, dict):
            for key, value in item.items():
                found[key.removeprefix("override ").lstrip("/").partition("@")[0]] = value
    return found


def _entries(text: str, data: dict[str, Any]) -> Iterator[Entry]:
    above: list[str] = []
    scopes: list[tuple[int, str]] = []
    last: Entry | None = None
    body = text.splitlines()[len([*_head(text)]) + text.startswith("# @package") :]
    for line in body:
        match = LINE.match(line)
        if match is None:
            comment = re.match(r"^( *)#\s?(.*)$", line)
            if comment and last is not None and len(comment[1]) > 8:  # continues behind the value, in its column
                last.meaning += f" {comment[2].strip()}"
            elif comment:
                above.append(comment[2].strip())
            else:
                above = []
            continue
        indent = len(match["indent"])
        scopes = [(depth, name) for depth, name in scopes if depth < indent]
        dotted = ".".join([*(name for _, name in scopes), match["key"]])
        value, meaning = (match["value"] or "").strip(), " ".join([*above, match["comment"] or ""]).strip()
        above, last = [], None
        if scopes and scopes[0][1] == "defaults":
            continue
        if not value:
            scopes.append((indent, match["key"]))
        if dotted in OBVIOUS or (not value and not meaning):
            continue
        last = Entry(dotted, value, meaning)
        yield last


def text_nodes(text: str) -> list[nodes.Node]:
    """Text with `code`, arXiv numbers and links as nodes."""
    found: list[nodes.Node] = []
    for piece in PIECES.split(text):
        if piece.startswith("`") and piece.endswith("`") and len(piece) > 2:
            found.append(nodes.literal("", piece[1:-1]))
        elif piece.startswith("arXiv:"):
            found.append(nodes.reference("", piece, refuri=f"https://arxiv.org/abs/{piece[6:]}", internal=False))
        elif piece.startswith("http"):
            found.append(nodes.reference("", piece, refuri=piece.rstrip(".,);"), internal=False))
        elif piece:
            found.append(nodes.Text(piece))
    return found


def table(header: list[str], rows: list[list[list[nodes.Node]]], widths: list[int]) -> nodes.table:
    group = nodes.tgroup("", *(nodes.colspec(colwidth=width) for width in widths), cols=len(widths))
    group += nodes.thead("", _row([[nodes.Text(cell)] for cell in header]))
    group += nodes.tbody("", *(_row(row) for row in rows))
    return nodes.table("", group, classes=["config-reference"])


def _row(cells: list[list[nodes.Node]]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells))


class ConfigReference(SphinxDirective):
    """`config-reference` shows every command and group; `config-reference:: controller` the files of one folder."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        folders = [self.arguments[0]] if self.arguments else ["", *self._folders()]
        return [node for folder in folders for node in self._folder(folder)]

    def _folders(self) -> list[str]:
        return sorted(p.name for p in CONF.iterdir() if p.is_dir() and any(p.glob("*.yaml")))

    def _folder(self, folder: str) -> list[nodes.Node]:
        title = f"{folder}=" if folder else "Commands"
        section = nodes.section("", nodes.title("", title), ids=[f"config-{folder or 'commands'}"])
        for page in read_folder(CONF / folder):
            self.env.note_dependency(str(page.path))
            section += self._file(page, folder)
        return [section]

    def _file(self, page: Page, folder: str) -> nodes.section:
        stem = page.path.stem
        title = f"{folder}={stem}" if folder else f"nas {stem}"
        section = nodes.section(
            "", nodes.title("", "", nodes.literal("", title)), ids=[f"config-{folder or 'nas'}-{stem}"]
        )
        section += nodes.paragraph("", "", *text_nodes(page.about))
        if page.groups and not folder:
            section += self._composes(page.groups)
        prefix = {"": ""}.get(folder, f"{folder}.{stem}." if folder == "device" else f"{folder}.")
        if page.entries:
            rows = [[[nodes.literal("", prefix + e.key)], [nodes.literal("", e.default)] if e.default else [],
                     text_nodes(e.meaning)] for e in page.entries]  # fmt: skip
            section += table(["key", "default", "meaning"], rows, [25, 20, 55])
        return section

    def _composes(self, groups: dict[str, Any]) -> nodes.paragraph:
        parts: list[nodes.Node] = [nodes.Text("Choices, with their defaults: ")]
        for i, (group, value) in enumerate(groups.items()):
            shown = "[" + ",".join(value) + "]" if isinstance(value, list) else "null" if value is None else str(value)
            reference = nodes.reference(
                "", "", nodes.literal("", f"{group}={shown}"), refid=f"config-{group}", internal=True
            )
            parts += [nodes.Text(", ")] if i else []
            parts.append(reference)
        return nodes.paragraph("", "", *parts, nodes.Text("."))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("config-reference", ConfigReference)
    return {"version": "1", "parallel_read_safe": True}
