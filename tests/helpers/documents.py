"""The documentation as a reader sees it: its pages, their fences, files and commands."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from places import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(p for p in DOCS.rglob("*.md") if "_build" not in p.parts)]
FENCE = re.compile(
    r"(?P<skip><!-- skip: [^\n]+ -->\n)?^```(?P<language>\w+)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE
)
NAMED = re.compile(r"# (?P<name>[\w./-]+\.\w+)\n")


@dataclass(frozen=True)
class Fence:
    language: str
    body: str
    skip: bool

    @property
    def file(self) -> str | None:
        """The file that it shows, by its first line."""
        named = NAMED.match(self.body)
        return named["name"] if named else None


def fences(page: Path) -> list[Fence]:
    text = page.read_text(encoding="utf-8")
    return [Fence(f["language"], f["body"], bool(f["skip"])) for f in FENCE.finditer(text)]


def commands(fence: Fence) -> list[str]:
    """The lines of an `sh` fence, without comments; a line that ends in a backslash has another one after it."""
    lines = fence.body.replace("\\\n", " ").splitlines() if fence.language == "sh" else []
    return [line for line in (shlex.join(shlex.split(line, comments=True)) for line in lines) if line]


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def write_files(page: Path, folder: Path) -> list[str]:
    """Writes the files that a page shows and gives their names."""
    found = {f.file: f.body for f in fences(page) if f.file}
    for name, body in found.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(body, encoding="utf-8")
    return list(found)


CALLS = sorted(
    {(call, page) for page in PAGES for f in fences(page) for call in commands(f) if call.startswith("nas ")}
)
