"""`benchmarks/accelerator.py` runs to its end at toy size, so that nobody finds its faults on a machine lent for minutes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from places import ROOT

pytestmark = pytest.mark.nightly


def test_the_dry_run_has_all_parts(tmp_path: Path) -> None:
    out = tmp_path / "accelerator.json"
    command = [sys.executable, str(ROOT / "benchmarks/accelerator.py"), "--dry", "--out", str(out)]
    subprocess.run(command, check=True, timeout=1200)
    kept = json.loads(out.read_text())
    assert list(kept) == ["step", "fit", "candidates", "supernet", "correctness", "training", "depthwise"]
    assert all(row.get("passed", True) for rows in kept.values() for row in rows)
