"""Types that several records share."""

from __future__ import annotations

from typing import Any, TypeAlias

JSON: TypeAlias = Any  # null, bool, int, float, str, a list or a mapping of these
