"""`nas search`: the settings of a command line into `nas.workflows.search.run.search`, and what it found as text."""

from __future__ import annotations

import shlex

from nas.cli.console import Console
from nas.cli.invocation import Invocation
from nas.core.settings import build
from nas.workflows.search.continued import continued
from nas.workflows.search.plan import SearchCommand
from nas.workflows.search.run import search as run_search


def search(call: Invocation) -> None:
    """Runs a search to its end, or resumes it."""
    run = call.run(call.config["run"])
    named = call.config["run"] is not None
    settings = continued(run.folder, call.config, call.keys) if named else call.config
    command = build(SearchCommand, settings, "")
    found = run_search(command, run, Console())
    print(found)
    print(f"\nreport  {run.shown}/report.html")
    if found.best is not None:
        train = shlex.join(["nas", "train", f"arch={run.shown}/best.yaml"])
        print(f"best    {run.shown}/best.yaml   ({train})")
