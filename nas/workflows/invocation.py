"""What a command is called with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Invocation:
    """What a command is called with: resolved settings, what the user typed, the number of a sweep's job."""

    config: Mapping[str, Any]
    overrides: tuple[str, ...]
    job: int | None
    command: str

    @property
    def again(self) -> str:
        """The command line that goes on with it."""
        return " ".join(["nas", self.command, *self.overrides])
