"""`nas supernet`: the settings of a command line into `nas.workflows.supernet.run.train_supernet`, and what it reached as text."""

from __future__ import annotations

import os
import shlex

from nas.cli.console import Console
from nas.cli.invocation import Invocation
from nas.cli.overrides import key_of
from nas.core.settings import build
from nas.workflows.supernet.run import SupernetCommand, train_supernet

SAME = ("space", "dataset", "resolution", "divisor", "plugins")  # what a search that takes the weights must say alike


def supernet(call: Invocation) -> None:
    """Trains the shared weights of a space, or resumes it."""
    command = build(SupernetCommand, call.config, "")
    run = call.run(command.run)
    found = train_supernet(command, run, Console())
    print(found)
    print(f"weights {os.path.relpath(found.weights)}")
    if found.best is not None:
        train = ["nas", "train", f"arch={run.shown}/best.yaml", f"weights=supernet:{run.shown}"]
        print(f"best    {run.shown}/best.yaml   ({shlex.join(train)})")
    same = [text for text in call.overrides if key_of(text).split(".")[0] in SAME]
    print(f"search  {shlex.join(['nas', 'search', *same, 'evaluator=supernet', f'evaluator.weights={run.shown}'])}")
