"""Results of unlike machines are kept apart: what results depend on, compared between a fit and a measurement, nodes, sessions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from nas.core.versions import versions
from nas.records import JSON, Measurement

Keep = Callable[[Measurement], object]
Failed = Callable[[str, str], object]  # (architecture id, error)
FROM_JAX = "nas.nn.network"  # loaded where this process trains


def training_machine() -> dict[str, JSON]:
    """What a training in this process depends on beside its settings; empty where nothing was trained in it."""
    if FROM_JAX not in sys.modules:
        return {}
    import jax

    from nas.nn import native

    backend = jax.default_backend()
    found = versions()
    return {
        "backend": backend, "native kernels": backend == "cpu" and native.available(), "jax": found.get("jax"),
        "jaxlib": found.get("jaxlib"),
    }  # fmt: skip


def unlike(before: Mapping[str, JSON], now: Mapping[str, JSON]) -> str:
    """What differs, in words: `processor A, now B; threads 1, now 2`; empty where nothing does."""
    keys = [key for key in dict.fromkeys([*before, *now]) if before.get(key) != now.get(key)]
    return "; ".join(f"{key} {before.get(key, 'unknown')}, now {now.get(key, 'unknown')}" for key in keys if key != "machine")


class Alike:
    """Keeps the measurements of one machine, that of the fit or else of the first; those of another are failures.

    Args:
        keep: Called with each measurement of the machine.
        failed: Called with the id and the reason for each other one.
        fingerprint, info: The machine's, see `nas.latency.Device`; empty: those of the first measurement.
    """

    def __init__(self, keep: Keep, failed: Failed, fingerprint: str = "", info: Mapping[str, JSON] | None = None):
        self._keep, self._failed = keep, failed
        self._fingerprint, self._info = fingerprint, dict(info or {})

    def __call__(self, measured: Measurement) -> None:
        if not self._fingerprint:
            self._fingerprint, self._info = measured.fingerprint, dict(measured.info)
        if measured.fingerprint == self._fingerprint:
            self._keep(measured)
            return
        now = {key: value for key, value in measured.info.items() if key in self._info}
        differs = unlike(self._info, {**self._info, **now}) or "its fingerprint differs"
        self._failed(measured.arch_id, f"{measured.arch_id}: measured on an unlike machine ({differs}); device=remote names a node")
