"""Rows of numbers and text that notebooks display and pandas reads."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame  # pyright: ignore[reportMissingImports]

SHOWN = 50  # rows in a notebook


@dataclass(frozen=True)
class Table(Sequence[Mapping[str, object]]):
    """Rows as dictionaries; a column that a row lacks has no value there."""

    rows: tuple[Mapping[str, object], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column of any row, in order of appearance."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row))

    def __getitem__(self, index: int) -> Mapping[str, object]:  # type: ignore[override]
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Mapping[str, object]]:
        return iter(self.rows)

    def to_pandas(self) -> DataFrame:
        """A data frame with a column each. Raises ValueError where pandas is not installed."""
        if find_spec("pandas") is None:
            raise ValueError("to_pandas: needs pandas: pip install pandas")
        from pandas import DataFrame  # pyright: ignore[reportMissingImports]

        return DataFrame(list(self.rows), columns=list(self.columns))

    def _repr_html_(self) -> str:
        names = self.columns
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        body = "".join(f"<tr>{''.join(f'<td>{_cell(row.get(name))}</td>' for name in names)}</tr>" for row in self.rows[:SHOWN])
        more = f"<p>and {len(self) - SHOWN} more rows</p>" if len(self) > SHOWN else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(value: object) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return html.escape(text)
