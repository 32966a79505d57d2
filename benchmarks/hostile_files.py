"""Seconds and memory that `nas cost` takes to refuse hostile files, each in a process of its own.

    python benchmarks/hostile_files.py [--json FILE]

The last line gives the slowest and the largest; a refusal is one line on standard error and exit code 2.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HEAD = "name: x\nresolution: 32\nstem: {op: conv, width: 8}\nhead: {op: classifier}\n"
STAGE = "{op: mbconv, width: 8, expand: 2}"


def bomb(levels: int = 30) -> str:
    """Aliases that would be 2^30 values written out."""
    rows = ["a0: &a0 [1, 2]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, levels)]
    return "\n".join(rows) + f"\nstages: *a{levels - 1}\n" + HEAD


FILES = {
    "alias bomb": bomb(),
    "100 MB": HEAD + "stages: [" + ", ".join([STAGE] * 3_000_000) + "]\n",
    "a billion repeats": HEAD + "stages: [{op: conv, width: 8, repeat: 1000000000}]\n",
    "a billion layers in stages": HEAD + "stages: [" + ", ".join(["{op: conv, width: 8, repeat: 999}"] * 90) + "]\n",
    "nested 100,000 deep": "stages: " + "[" * 100_000 + "]" * 100_000 + "\n" + HEAD,
    "nested 100,000 deep, dashes": "stages:\n" + "- " * 100_000 + "\n" + HEAD,
    "nested 100,000 deep, keys": HEAD + "stages: " + "{a: " * 100_000 + "\n",
    "wrong types": HEAD + "stages: {op: 3}\n",
    "negative width": HEAD + "stages: [{op: conv, width: -8}]\n",
    "unknown op": HEAD + "stages: [{op: cnov, width: 8}]\n",
    "a number of a megabyte": HEAD + "stages: [{op: conv, width: " + "9" * 900_000 + "}]\n",
    "not text": "\x00\x01\x02",
    "a million primitives": HEAD + "stages: [{op: xception, width: 8, depth: 64, repeat: 1000}]\n",
    "empty": "",
}


def refuse(path: Path) -> tuple[float, float, int, str]:
    """(seconds, MB, exit code, line) of `nas cost arch=<path>`."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", "cost", f"arch={path}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    return time.perf_counter() - start, usage.ru_maxrss / 1024, os.waitstatus_to_exitcode(status), said.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "hostile.yaml")
        path.write_text(HEAD + f"stages: [{STAGE}]\n")
        refuse(path)  # warms the file cache
        for name, text in FILES.items():
            path.write_text(text)
            seconds, megabytes, code, line = refuse(path)
            rows.append(
                {
                    "file": name,
                    "seconds": seconds,
                    "megabytes": megabytes,
                    "code": code,
                    "lines": len(line.splitlines()),
                }
            )
            print(
                f"{name:<28} {seconds:5.2f} s {megabytes:6.0f} MB  exit {code}  {line.replace(str(path), 'FILE')[:90]}"
            )
    print(f"slowest {max(r['seconds'] for r in rows):.2f} s, largest {max(r['megabytes'] for r in rows):.0f} MB")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
