"""One vocabulary: the field's standard terms in names, messages, comments, configuration and documentation."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = next(parent for parent in Path(__file__).resolve().parents if (parent / "pyproject.toml").exists())
PLACES = ("nas", "conf", "search_spaces", "docs", "examples", "benchmarks", "tests", "README.md", "CONTRIBUTING.md")
KINDS = {".py", ".md", ".yaml", ".html", ".js", ".css"}

# The word that is not used, the one that is, and the texts in which the first is right.
TABLE: list[tuple[str, str, str]] = [
    (r"\btold\b", "observed, completed", r"told from|are told by|be told"),
    (r"\bhard limits?\b", "constraint", ""),
    (r"\brungs?\b", "fidelity", ""),
    (r"\bguided\b", "bayesian", ""),
    (r"\bhalving\b", "asha", r"successive halving|-halving|alone .* halving"),
    (r"\bone_program\b", "switched", r"test_what_one_program"),
    (r"\bregress\b", "surrogates", ""),
    (r"\bdef left\(|\.left\(", "posterior_covariance()", ""),
    (r"\bwanted\b", "expected", ""),
    (r"\b(go|goes|going|went)[ _]on\b", "resumes, continues", ""),
    (r"\bscreened\b", "infeasible", ""),
    (r"\b(a|the|its|their|this|what) share\b|\bshares? of\b|_share\b|\bshare_", "fraction", ""),
    (r"\bbold(ness)?\b", "exploration", ""),
    (r"\blearnt\b", "learned", ""),
    (r"\bCrowd\b", "device mesh", ""),
    (r"\bNoRoom\b", "DiskFullError", ""),
    (r"\bmisses the\b", "missing key, is over the target", ""),
    (r"\btimes that are none\b", "invalid times", ""),
    (r"\bmiddle\b", "median, mean", r"middle (of|channel|layer|one|block|stage)|the middle|\"middle\"|`middle`"),
    (r"\bspreads?\b", "standard deviation, range", r"spread (out|over|them|it)|spreads? [a-z ]*(over|across)"),
    (r"\bone's own\b|\bOne's own\b", "custom, your own", ""),
    (r"\bthe house\b|\bout of the house\b", "architecture, deployment", ""),
    (r"\b(behaviour|colour|centre|normalis|optimis(e|ing|ation)|learnt|artefact)", "American spelling", ""),
]


def files() -> Iterator[Path]:
    for place in PLACES:
        found = [ROOT / place] if (ROOT / place).is_file() else sorted((ROOT / place).rglob("*"))
        yield from (
            path for path in found if path.suffix in KINDS and path.name != Path(__file__).name and "_build" not in path.parts
        )


@functools.cache
def lines() -> list[tuple[Path, int, str]]:
    return [
        (path.relative_to(ROOT), number, line)
        for path in files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    ]


@pytest.mark.parametrize("word, instead, allowed", TABLE, ids=[row[1] for row in TABLE])
def test_the_standard_term_is_used(word: str, instead: str, allowed: str) -> None:
    found, right = re.compile(word, re.IGNORECASE if word.islower() else 0), re.compile(allowed or "$^")
    faults = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path, number, line in lines()
        if found.search(line) and found.search(right.sub("", line))
    ]
    assert not faults, f"say {instead}:\n" + "\n".join(faults)


def test_the_table_finds_what_it_is_for() -> None:
    line = "the trial was told its share_of_time and learnt"
    assert [instead for word, instead, _ in TABLE if re.search(word, line)] == [
        "observed, completed", "fraction", "learned", "American spelling",
    ]  # fmt: skip
