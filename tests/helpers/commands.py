"""How tests start `nas` in a process of its own."""

from __future__ import annotations

import os
import signal

from places import PYTHONPATH


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": PYTHONPATH, "PYTHONUNBUFFERED": "1"}


def hear_ctrl_c() -> None:
    """A shell starts its background jobs with SIGINT ignored, and what they start inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
