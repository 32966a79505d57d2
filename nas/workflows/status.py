"""How a run stands: while it runs, or afterwards."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nas.journal import Journal, Lease
from nas.report import summarize
from nas.workflows.search.preparation import KEY


def status_of(journal: Journal) -> dict[str, Any]:
    """State, driver, trials and workers of a run, as plain data, at any time."""
    lease, status = journal.lease(), journal.get("status") or {}
    preparation = journal.get(KEY, [])
    summary, starts, events = summarize(journal), journal.events("start"), journal.events()
    alive = lease is not None and lease.alive
    return {
        "run": str(journal.path.parent),
        "command": journal.get("command") or "",
        "state": _state(lease, journal.get("finished"), summary.counts.get("pending", 0), events[-1].kind if events else ""),
        "error": events[-1].data.get("error", "") if events and events[-1].kind == "failed" else "",
        "driver": asdict(lease) if lease else None,
        "goal": starts[-1].data.get("trials") if starts else None,
        "trials": dict(summary.counts),
        "preparation": {"done": sum(job["result"] is not None for job in preparation), "jobs": len(preparation)},
        "losses": len(journal.events("retry")),
        "sessions": summary.sessions,
        "wall_s": summary.wall_s,
        "capacity": status.get("capacity") if alive else 0,
        "running": status.get("running", []) if alive else [],
        "dashboard": status.get("dashboard", "") if alive else "",
    }


def _state(lease: Lease | None, finished: int | None, pending: int, last: str) -> str:
    if lease is not None:
        return "running" if lease.alive else "not responding" if lease.gone is False else "killed"
    if finished and not pending:
        return "finished"
    return "failed" if last == "failed" else "stopped"
