"""`nas profile`: the settings of a command line into `nas.workflows.profile_devices.profile`, and the errors as text."""

from __future__ import annotations

import os

from nas.cli.console import Console
from nas.cli.invocation import Invocation
from nas.core.settings import build
from nas.workflows.profile_devices import ProfileCommand
from nas.workflows.profile_devices import profile as run_profile


def profile(call: Invocation) -> None:
    """Measures and fits, or resumes it."""
    command = build(ProfileCommand, call.config, "")
    for one in run_profile(command, call.run(command.run), Console()):
        found = one.profile
        print(
            f"{found.device}: {found.samples} samples, {len(found.rows)} held out, {found.seconds / 60:.1f} minutes of measuring\n"
            f"  predicted against measured anew: {found.predicted.text()}\n"
            f"  measured twice (the noise floor): {found.repeated.text()}\n"
            f"  predictor {os.path.relpath(one.predictor)}   page {os.path.relpath(one.page)}",
        )
