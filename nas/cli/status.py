"""`nas status run=..`: how a run stands, from any terminal while it runs, or afterwards."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import dataclass
from typing import Any

from nas.cli.invocation import Invocation
from nas.core.settings import build
from nas.journal import Journal
from nas.report import front_text, summarize
from nas.report.panel import duration
from nas.workflows.run_folder import journal_folder
from nas.workflows.status import status_of


@dataclass(frozen=True)
class StatusCommand:
    """The keys of conf/status.yaml."""

    run: str
    json: bool = False


def status(call: Invocation) -> None:
    command = build(StatusCommand, call.config, "")
    with Journal.open(journal_folder(command.run) / "journal.sqlite", read_only=True) as journal:
        found = status_of(journal)
        if command.json:
            print(json.dumps(found, allow_nan=False))
            return
        print("\n".join(_lines(found)))
        print(front_text(summarize(journal), limit=10))


def _lines(found: dict[str, Any]) -> list[str]:
    """One line for the run, one for what it has done, one a worker."""
    driver, now = found["driver"], time.time()
    heard = f"pid {driver['pid']} on {driver['host']}, heartbeat {max(now - driver['time'], 0):.0f} s ago" if driver else ""
    who = f" by {heard}" if found["state"] == "running" else f": {heard}" if driver else ""
    why = f": {found['error']}" if found["error"] else ""
    command = found["command"]
    if not command.startswith("nas ") or command.startswith("nas search"):
        command = f"nas search run={shlex.quote(found['run'])}"
    again = f"; {command} resumes" if found["state"] in ("killed", "stopped", "failed") else ""
    lines = [f"{found['run']}: {found['state']}{who}{why}{again}"]
    counts = ", ".join(f"{count} {outcome}" for outcome, count in found["trials"].items()) or "no trials yet"
    lines.append(f"{counts}; goal {found['goal']}; {found['losses']} lost and tried again; {duration(found['wall_s'])} so far")
    if (prepared := found["preparation"])["done"] < prepared["jobs"]:
        lines.append(f"preparation: {prepared['done']} of {prepared['jobs']} jobs done")
    if found["running"]:
        lines.append(f"{len(found['running'])} of {found['capacity']} workers busy:")
    for r in found["running"]:
        fraction = f"{100 * r['step'] / r['steps']:3.0f}%" if r["steps"] else "  -"
        lines.append(f"  {r['worker'] or 'this process':<28} trial {r['number']:<6} {fraction}  {duration(max(now - r['since'], 0))}")
    if found["dashboard"]:
        lines.append(f"Ray's dashboard: {found['dashboard']}")
    return lines
