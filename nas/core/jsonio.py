"""JSON from files, bounded: what nests too deeply is one line, as everything else that is no JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def parse_json(text: str | bytes | bytearray, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Parses JSON that somebody else may have written.

    Args:
        text: One document, UTF-8 where it is bytes.
        object_hook: As that of `json.loads`.

    Returns:
        Plain data.

    Raises:
        ValueError: It is no JSON, or nested too deeply for Python's parser, which raises RecursionError for that.
    """
    try:
        return json.loads(text, object_hook=object_hook)
    except RecursionError:
        raise ValueError("nested too deeply") from None
