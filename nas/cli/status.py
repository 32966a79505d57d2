"""`nas status run=..`: how a run stands, from any terminal while it runs, or afterwards."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from nas.cli.invocation import Invocation
from nas.core.settings import build
from nas.journal import Journal, Lease
from nas.report import front_text, summarize
from nas.report.panel import duration
from nas.workflows.run_folder import journal_folder


@dataclass(frozen=True)
class StatusCommand:
    """The keys of conf/status.yaml."""

    run: str
    json: bool = False


def status(call: Invocation) -> None:
    command = build(StatusCommand, call.config, "")
    with Journal.open(journal_folder(command.run) / "journal.sqlite", read_only=True) as journal:
        found = _status(journal)
        if command.json:
            print(json.dumps(found, allow_nan=False))
            return
        print("\n".join(_lines(found)))
        print(front_text(summarize(journal), limit=10))


def _status(journal: Journal) -> dict[str, Any]:
    lease, status = journal.lease(), journal.get("status") or {}
    summary, starts = summarize(journal), journal.events("start")
    alive = lease is not None and lease.alive
    return {
        "run": str(journal.path.parent),
        "state": _state(lease, journal.get("finished"), summary.counts.get("pending", 0)),
        "driver": asdict(lease) if lease else None,
        "goal": starts[-1].data.get("trials") if starts else None,
        "trials": dict(summary.counts),
        "losses": len(journal.events("retry")),
        "sessions": summary.sessions,
        "wall_s": summary.wall_s,
        "capacity": status.get("capacity") if alive else 0,
        "running": status.get("running", []) if alive else [],
        "dashboard": status.get("dashboard", "") if alive else "",
    }


def _state(lease: Lease | None, finished: int | None, pending: int) -> str:
    if lease is not None:
        return "running" if lease.alive else "killed"
    return "finished" if finished and not pending else "stopped"


def _lines(found: dict[str, Any]) -> list[str]:
    """One line for the run, one for what it has done, one a worker."""
    driver, now = found["driver"], time.time()
    who = f" by pid {driver['pid']} on {driver['host']}, heartbeat {max(now - driver['time'], 0):.0f} s ago" if driver else ""
    again = "; the same command resumes" if found["state"] in ("killed", "stopped") else ""
    lines = [f"{found['run']}: {found['state']}{who}{again}"]
    counts = ", ".join(f"{count} {outcome}" for outcome, count in found["trials"].items()) or "no trials yet"
    lines.append(f"{counts}; goal {found['goal']}; {found['losses']} lost and tried again; {duration(found['wall_s'])} so far")
    if found["running"]:
        lines.append(f"{len(found['running'])} of {found['capacity']} workers busy:")
    for r in found["running"]:
        fraction = f"{100 * r['step'] / r['steps']:3.0f}%" if r["steps"] else "  -"
        lines.append(f"  {r['worker'] or 'this process':<28} trial {r['number']:<6} {fraction}  {duration(max(now - r['since'], 0))}")
    if found["dashboard"]:
        lines.append(f"Ray's dashboard: {found['dashboard']}")
    return lines
