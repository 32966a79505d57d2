"""`nas export`: the settings of a command line into `nas.workflows.export.run.export`, and what was written as text."""

from __future__ import annotations

import os

from nas.cli.console import Console
from nas.cli.invocation import Invocation
from nas.core.settings import build
from nas.workflows.export.run import ExportCommand, Exported
from nas.workflows.export.run import export as run_export


def export(call: Invocation) -> None:
    """Exports a trained network, or an architecture."""
    command = build(ExportCommand, call.config, "")
    found = run_export(command, Console())
    if command.weights is not None:
        _show_bundle(found)
    elif found.folder is None:
        print("---\n".join(found.texts.values()), end="")
    else:
        print("\n".join(map(str, found.files.values())))


def _show_bundle(found: Exported) -> None:
    for name, difference in found.differences.items():
        print(f"{name:<10} loaded back, outputs within {difference:.1e}")
    for name, value in found.int8_accuracy.items():
        print(f"{'int8 ' + name:<11} test {found.metric} {value:.4f}, {found.accuracy:.4f} before")
    print(f"test {found.metric} {found.accuracy:.4f}; {os.path.relpath(found.folder or '.')}")
