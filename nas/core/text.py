"""Rows of cells as aligned columns of text."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[object]], left: int = 1) -> str:
    """Formats rows as text columns two spaces apart.

    Args:
        rows: Cells, as many in each row.
        left: How many of the first columns are flush left; the others are flush right.

    Returns:
        One line for each row.
    """
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in texts) for i in range(len(texts[0]))]
    lines = []
    for row in texts:
        cells = [
            cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
