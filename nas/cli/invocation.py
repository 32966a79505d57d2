"""What a command is called with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas.workflows.run_folder import Run, run_folder


@dataclass(frozen=True)
class Invocation:
    """What a command is called with: resolved settings, what the user typed, the number of a sweep's job."""

    config: Mapping[str, Any]
    overrides: tuple[str, ...]
    job: int | None
    command: str

    @property
    def again(self) -> str:
        """The command line that resumes it, as a shell reads it."""
        return shlex.join(["nas", self.command, *self.overrides])

    def run(self, run: str | None) -> Run:
        """The run that `run=` names; by default its folder is named after the command and the keys that were set."""
        parts = self.overrides if self.command == "search" else (self.command, *self.overrides)
        return Run(run_folder(run, parts, self.job).absolute(), self.again)
