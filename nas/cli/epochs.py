"""What `nas train` shows while it runs: a line an epoch with the time left, and within long epochs how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from nas.report.panel import duration

PAUSE_S = 60.0  # between lines within an epoch where they cannot be written over
CLEAR = "\r\x1b[2K"


def _loss(metrics: Mapping[str, float]) -> str:
    return f"  loss {metrics['train_loss']:.4f}" if "train_loss" in metrics else ""


class Epochs:
    """A `report` for `nas.train.fit` and for an evaluator's preparation; `shown` is the last whole epoch."""

    def __init__(self) -> None:
        self.shown = 0
        self._first: tuple[float, int] | None = None
        self._said_at = time.monotonic()
        self._terminal = sys.stdout.isatty()

    def __call__(self, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        now = time.monotonic()
        left = self._left(now, step, steps)
        if "epoch" in metrics and metrics["epoch"] != self.shown:
            self.shown, self._said_at = int(metrics["epoch"]), now
            text = ", ".join(f"{k} {v:.4f}" for k, v in metrics.items() if k not in ("epoch", "step"))
            print(f"{self._clear}epoch {self.shown}  {100 * step // max(steps, 1)}%  {text}{left}", flush=True)
        elif self._terminal:
            print(f"{CLEAR}step {step} of {steps}{_loss(metrics)}{left}", end="", flush=True)
        elif now - self._said_at > PAUSE_S:
            self._said_at = now
            print(f"step {step} of {steps}{_loss(metrics)}{left}", flush=True)

    @property
    def _clear(self) -> str:
        return CLEAR if self._terminal else ""

    def _left(self, now: float, step: int, steps: int) -> str:
        """From the pace of this process; compilation is over when the first report comes."""
        if self._first is None:
            self._first = now, step
        since, first = self._first
        if step >= steps or step == first:
            return ""
        return f", about {duration((now - since) / (step - first) * (steps - step))} left"
