"""`nas train`: the settings of a command line into `nas.workflows.train.train`, and what it scored as text."""

from __future__ import annotations

import os

from nas.cli.console import Console
from nas.cli.invocation import Invocation
from nas.core.settings import build
from nas.workflows.train import TrainCommand
from nas.workflows.train import train as run_train


def train(call: Invocation) -> None:
    """Trains an architecture, or resumes it."""
    command = build(TrainCommand, call.config, "")
    found = run_train(command, call.run(command.run), Console())
    print(found)
    print(f"weights {os.path.relpath(found.weights)}")
