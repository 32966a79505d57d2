"""How a law is stated: a condition and what is broken where it does not hold, also under `python -O`."""

from __future__ import annotations

from collections.abc import Callable


def require(holds: object, law: str, detail: Callable[[], str] | str = "") -> None:
    """Raises AssertionError naming the law, and what was found, unless `holds` is true."""
    if not holds:
        found = detail if isinstance(detail, str) else detail()
        raise AssertionError(f"{law}: {found}" if found else law)
