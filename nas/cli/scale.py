"""`nas scale`: the settings of a command line into `nas.workflows.scale.run.scale`, and the family as a table."""

from __future__ import annotations

import os

from nas.cli.console import Console
from nas.cli.invocation import Invocation
from nas.core.settings import build
from nas.workflows.run_folder import Run, run_folder
from nas.workflows.scale.run import ScaleCommand
from nas.workflows.scale.run import scale as run_scale


def scale(call: Invocation) -> None:
    """Scales an architecture, or resumes it."""
    command = build(ScaleCommand, call.config, "")
    run = call.run(command.run) if command.in_workers else Run(run_folder(command.run, (), call.job).absolute(), call.again)
    found = run_scale(command, run, Console())
    print(found)
    for path in found.files:
        print(os.path.relpath(path))
