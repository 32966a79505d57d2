"""What a command is called with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas.cli.overrides import key_of
from nas.workflows.run_folder import Run, run_folder


@dataclass(frozen=True)
class Invocation:
    """What a command is called with: resolved settings, what the user typed, the name of a sweep's job below its `run=`."""

    config: Mapping[str, Any]
    overrides: tuple[str, ...]
    job: str
    command: str

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that were set."""
        return tuple(key for key in map(key_of, self.overrides) if not key.startswith("hydra"))

    @property
    def again(self) -> str:
        """The command line that resumes it, as a shell reads it."""
        return shlex.join(["nas", self.command, *self.overrides])

    def run(self, run: object) -> Run:
        """The run that `run=` names; by default its folder is named after the command and the keys that were set."""
        parts = self.overrides if self.command == "search" else (self.command, *self.overrides)
        if run is not None and not isinstance(run, str):
            raise ValueError(f"run: expected text, got {run}; a name of digits alone needs quotes, as in \"run='{run}'\"")
        return Run(run_folder(run, parts, self.job).absolute(), self.again)
