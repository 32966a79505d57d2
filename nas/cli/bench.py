"""`nas bench`: controllers side by side on a published table."""

from __future__ import annotations

import os
from functools import partial

from nas.cli.hydra_door import choices
from nas.cli.invocation import Invocation
from nas.core.plugins import load_plugins
from nas.core.settings import build
from nas.workflows.bench.page import as_text
from nas.workflows.bench.run import BenchCommand
from nas.workflows.bench.run import bench as run_bench
from nas.workflows.run_folder import run_folder


def bench(call: Invocation) -> None:
    """Runs what is missing of the contest and shows it."""
    command = build(BenchCommand, call.config, "")
    load_plugins(command.plugins, [os.getcwd()])
    folder = run_folder(command.run, ["bench", *call.overrides], call.job)
    results, files = run_bench(command, folder, choices("controller"), partial(print, flush=True))
    print(as_text(results))
    for path in files:
        print(path)
