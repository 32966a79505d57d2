"""`nas estimate` and `nas suggest`: what the trials of a run say of networks, and what its models would try next."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from nas.cli.invocation import Invocation
from nas.core.settings import build, check_ranges
from nas.workflows.estimate import estimate as run_estimate
from nas.workflows.suggest import MOST
from nas.workflows.suggest import suggest as run_suggest


@dataclass(frozen=True)
class EstimateCommand:
    """The keys of conf/estimate.yaml."""

    run: str
    arch: tuple[str | int, ...] | str | int
    json: bool = False


@dataclass(frozen=True)
class SuggestCommand:
    """The keys of conf/suggest.yaml."""

    run: str
    n: int = 5
    seed: int = 0
    out: str | None = None
    json: bool = False

    def __post_init__(self) -> None:
        check_ranges(self, n=(1, MOST), seed=(0, 2**31 - 1))


def estimate(call: Invocation) -> None:
    """Prints a line for each network, and what the predictions rest on."""
    command = build(EstimateCommand, call.config, "")
    archs = command.arch if isinstance(command.arch, tuple) else (command.arch,)
    found = run_estimate(command.run, archs)
    print(json.dumps(found.to_dict(), allow_nan=False) if command.json else found)


def suggest(call: Invocation) -> None:
    """Prints a line for each network that would be tried next."""
    command = build(SuggestCommand, call.config, "")
    found = run_suggest(command.run, command.n, command.seed)
    files = found.write(command.out) if command.out else []
    if command.json:
        print(json.dumps(found.to_dict(), allow_nan=False))
        return
    print("\n".join([str(found), *map(os.path.relpath, files)]))
