"""Text for terminals and for Markdown: aligned columns, and words from files that stay words."""

from __future__ import annotations

import re
from collections.abc import Sequence

JOINERS = "\u200c\u200d"  # within words of some scripts, and between the parts of a picture
MARKS = re.compile(r"[\\`*\[\]<>|~&#$@]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.")  # `_` within a word is none


def aligned(rows: Sequence[Sequence[object]], left: int = 1) -> str:
    """Formats rows as text columns two spaces apart.

    Args:
        rows: Cells, as many in each row.
        left: How many of the first columns are flush left; the others are flush right.

    Returns:
        One line for each row.
    """
    texts = [[one_line(str(cell)) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in texts) for i in range(len(texts[0]))]
    lines = []
    for row in texts:
        cells = [
            cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def one_line(text: str) -> str:
    """Text from a file as it may stand in a line for people: nothing ends the line, moves the cursor or turns the direction.

    Args:
        text: Any text.

    Returns:
        The text; white space is a blank, and what does not print is U+FFFD.
    """
    return "".join(" " if char.isspace() else char if char.isprintable() or char in JOINERS else "\ufffd" for char in text)


def markdown(text: str) -> str:
    """Text from a file as Markdown that shows it.

    Args:
        text: Any text.

    Returns:
        A cell of a table, with a backslash before what Markdown, HTML in it or its common extensions would take for marks.
    """
    return MARKS.sub(r"\\\g<0>", one_line(text))
