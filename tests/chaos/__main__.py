"""python -m tests.chaos --kills 50 --trials 300: prints every kill, and whether the journal is that of an undisturbed search."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.2, help="how long a trial takes")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from .cluster import FakeCluster
    from .drive import differences, disturbed, undisturbed

    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="nas-chaos-") as name:
        calm, rough = Path(name, "calm"), Path(name, "rough")
        undisturbed(calm, arguments.trials)
        with FakeCluster(arguments.nodes) as cluster:
            story = disturbed(
                rough, cluster, arguments.kills, arguments.trials, arguments.seed, arguments.seconds,
                lambda line: print(f"{time.monotonic() - start:6.0f} s  {line}", flush=True),
            )  # fmt: skip
        lost, twice, others = differences(calm, rough)
    killed = ", ".join(f"{count} {kind}s" for kind, count in sorted(story.killed.items()))
    print(f"killed {killed}; {story.fell} drivers fell with their node; {story.starts} starts; {time.monotonic() - start:.0f} s")
    print(f"{lost} lost, {twice} duplicated, {len(others)} differences to the undisturbed search")
    print("\n".join(others[:20]))
    if arguments.json:
        row = {"killed": dict(story.killed), "starts": story.starts, "lost": lost, "duplicated": twice, "different": len(others)}
        arguments.json.write_text(json.dumps({"trials": arguments.trials, **row}, indent=1) + "\n")
    return 1 if lost or twice or others else 0


if __name__ == "__main__":
    sys.exit(main())
