"""What an accelerator gets out of us: correctness, steps against PyTorch, whole trainings, candidates an hour, depthwise forms.

    python benchmarks/accelerator.py [--data images.npz] [--out accelerator.json] [--parts step fit] [--traces FOLDER] [--dry]

Needs neither ray nor hydra; PyTorch for its arms alone. Parts run one after the other, the most valuable first, each in a process
of its own with a limit of its own; every row is written as soon as it is there, and a second call does the parts that are missing.
`--data`: images as `dataset=npz` has them (CIFAR-10's shape), otherwise noise. `--dry` runs all parts at toy size on a CPU: a test
of the script, whose figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

LIMITS = {"step": 180, "fit": 100, "candidates": 300, "supernet": 150, "correctness": 45, "training": 30, "depthwise": 45}  # seconds
ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "2"}


def run_part(name: str, asked: argparse.Namespace, limit: float) -> list[dict[str, Any]]:
    """The rows of a part that runs in a process of its own, printed as they come; what it does not reach is a row too."""
    command = [sys.executable, str(Path(__file__).with_name("accelerator_parts.py")), name, "--limit", str(limit)]
    command += ["--dry"] if asked.dry else []
    command += ["--cache", str(asked.cache)]
    for option in ("data", "traces"):
        command += [f"--{option}", str(given)] if (given := getattr(asked, option)) else []
    given = os.environ | ENVIRONMENT | {"JAX_COMPILATION_CACHE_DIR": str(asked.cache)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=given, start_new_session=True)
    timer = threading.Timer(limit, lambda: os.killpg(process.pid, signal.SIGKILL))
    rows: list[dict[str, Any]] = []
    timer.start()
    try:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("{"):
                rows.append(json.loads(line))
                show(rows[-1])
    finally:
        timer.cancel()
    code = process.wait()
    if code:
        reason = f"stopped at its limit of {limit:.0f} s" if code == -signal.SIGKILL else f"failed with code {code}"
        rows.append({"part": name, "what": "the rest", "note": reason})
        show(rows[-1])
    return rows


def show(row: dict[str, Any]) -> None:
    values = ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
                       if key not in ("part", "what"))  # fmt: skip
    print(f"{row['part']:12} {row['what']:46} {values}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FILE", help="an .npz with x_train and y_train")
    parser.add_argument("--out", type=Path, default=Path("accelerator.json"), metavar="FILE")
    parser.add_argument("--parts", nargs="+", choices=list(LIMITS), default=list(LIMITS))
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="tuned kernels and programs; otherwise a fresh folder")
    parser.add_argument("--traces", type=Path, metavar="FOLDER", help="for the optimized programs and profiles of our steps")
    parser.add_argument("--scale", type=float, default=1.0, help="of all limits")
    parser.add_argument("--dry", action="store_true")
    asked = parser.parse_args()
    asked.cache = asked.cache or Path(tempfile.mkdtemp(prefix="accelerator-"))
    kept = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    for name in asked.parts:
        if name in kept:
            print(f"{name}: is in {asked.out} already")
            continue
        began = time.monotonic()
        kept[name] = run_part(name, asked, LIMITS[name] * asked.scale * (4 if asked.dry else 1))
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        asked.out.write_text(json.dumps(kept, indent=1))
    failed = [row for rows in kept.values() for row in rows if row.get("what") == "the rest" or row.get("passed") is False]
    return 1 if asked.dry and failed else 0


if __name__ == "__main__":
    sys.exit(main())
