"""`nas adapt`: the settings of a command line into `nas.workflows.adapt.run.adapt`, and the end points as text."""

from __future__ import annotations

from nas.cli.console import Console
from nas.cli.invocation import Invocation
from nas.core.settings import build
from nas.workflows.adapt.run import AdaptCommand
from nas.workflows.adapt.run import adapt as run_adapt


def adapt(call: Invocation) -> None:
    """Shrinks a trained network until it meets a latency, or resumes it."""
    command = build(AdaptCommand, call.config, "")
    run = call.run(command.run)
    print(run_adapt(command, run, Console()))
    print(f"{run.shown}: arch.yaml, weights.npz, steps/, trajectory.svg")
