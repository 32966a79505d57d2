"""Hostile files over all that commands read: whether anything of them is executed, ends in a traceback, or takes long.

    python benchmarks/hostile_files.py [KIND ..] [--json FILE] [--workers 2] [--annotations 500]

Each case (hostile_cases.py) is a command in a process and a folder of its own. A refusal is one line on standard error and exit
code 2. The last line counts: what was executed, tracebacks and internal errors, other ends, the slowest and the largest.

The kinds voc, coco, yolo and masks are so many broken datasets each (hostile_annotations.py), fifty to a process; of these, lines are
printed for those that do not end as they should. Some happen to be whole.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from hostile_annotations import KINDS, in_process, parts
from hostile_cases import cases
from hostile_makers import Case, usual

# In between, because Linux counts what this process holds when it forks as the child's.
LAUNCHER = """
import resource, subprocess, sys
code = subprocess.run([sys.executable, "-m", "nas", *sys.argv[1:]], stdout=subprocess.DEVNULL).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@dataclass(frozen=True)
class Row:
    """What a case ended with; `how` is refused, fine, executed, traceback, or what else it was."""

    kind: str
    name: str
    how: str
    seconds: float
    megabytes: float
    code: int
    line: str


def tried(case: Case, base: Path, folder: Path) -> Row:
    """Runs a case in a copy of the usual files."""
    shutil.copytree(base, folder)
    case.spoil(folder)
    before = set(folder.parent.rglob("RAN*"))
    start = time.perf_counter()
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "NAS_CACHE": str(base.parent / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *case.command], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        errors="replace", env=environment, check=False,
    )  # fmt: skip
    seconds, said = time.perf_counter() - start, done.stderr
    code, kilobytes = map(int, done.stdout.split())
    ran = set(folder.parent.rglob("RAN*")) - before
    shutil.rmtree(folder)
    lines = said.strip().splitlines()
    how = _how(case, code, said, bool(ran), lines)
    return Row(case.kind, case.name, how, seconds, kilobytes / 1024, code, (lines or [""])[-1])


def _how(case: Case, code: int, said: str, ran: bool, lines: Sequence[str]) -> str:
    if ran:
        return "executed"
    if "Traceback" in said or "internal error" in said:
        return "traceback"
    if code == 2:
        return "refused" if len(lines) == 1 else f"{len(lines)} lines"
    return "fine" if code == 0 and case.fine else f"exit {code}"


def counts(rows: Sequence[Row]) -> Mapping[str, int]:
    """How many cases ended which way; the two that must not be are always there."""
    found = {"executed": 0, "traceback": 0}
    for row in rows:
        found[row.how] = found.get(row.how, 0) + 1
    return found


def show(row: Row) -> None:
    print(f"{row.kind:<9} {row.name:<44} {row.how:<9} {row.seconds:6.2f} s {row.megabytes:6.0f} MB  {row.line[:80]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kinds", nargs="*")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--annotations", type=int, default=500)
    arguments = parser.parse_args()
    chosen = [case for case in cases() if not arguments.kinds or case.kind in arguments.kinds]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(arguments.workers) as pool:
        base = Path(name, "usual")
        base.mkdir()
        if chosen:
            usual(base)
        folders = [Path(name, f"case-{i}", "w") for i in range(len(chosen))]
        for row in pool.map(lambda case, folder: tried(case, base, folder), chosen, folders):
            rows.append(row)
            show(row)
        some = [(kind, seeds) for kind in KINDS for seeds in parts(arguments.annotations) if not arguments.kinds or kind in arguments.kinds]
        for (kind, _), found in zip(some, pool.map(lambda one: in_process(one[0], one[1], Path(name)), some), strict=True):
            new = [Row(kind, f"seed {r.seed}", r.how, r.seconds, r.megabytes, r.code, (r.said.splitlines() or [""])[-1]) for r in found]
            rows += new
            for row in new:
                if row.how not in ("refused", "whole"):
                    show(row)
    ends = ", ".join(f"{count} {how}" for how, count in counts(rows).items())
    print(f"{len(rows)} cases: {ends}; slowest {max(r.seconds for r in rows):.1f} s, largest {max(r.megabytes for r in rows):.0f} MB")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
