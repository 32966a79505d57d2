"""How long a large journal takes to open and to read, and what a trial costs to write durably.

    python benchmarks/journal_open.py [--trials 100000] [--json FILE]

The journal is written by the library's own calls, `--durable` of its trials one commit each as a search does, the rest
in one transaction; each has a genome of 30 genes, five metrics and an evaluation.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from nas.journal import Journal
from nas.journal.rows import insert
from nas.records import Evaluation, Trial

METRICS = {"accuracy": 0.71234, "loss": 1.2, "params": 123456.0, "macs": 9876543.0, "predicted_ms/host": 3.25}


def trial(number: int) -> Trial:
    genome = tuple((number * (i + 7)) % 5 for i in range(30))
    return Trial(number, genome, f"{number:012x}", metrics=METRICS, note={"log_probability": -number / 7})


def evaluation(number: int) -> Evaluation:
    return Evaluation(number, 0, number, {"accuracy": 0.71234, "loss": 1.2}, 1.5, 20.25, "host/1")


def write(path: Path, trials: int, durable: int) -> float:
    """Writes the journal; seconds a trial of those committed one by one."""
    with Journal.create(path) as journal:
        start = time.perf_counter()
        for number in range(durable):
            begun = journal.begin(trial(number))
            journal.finish(replace(begun, outcome="ok"), [evaluation(number)])
        each_s = (time.perf_counter() - start) / max(durable, 1)
        with journal._transaction() as database:
            for number in range(durable, trials):
                insert(database, replace(trial(number), outcome="ok"))
                insert(database, evaluation(number))
    return each_s


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--durable", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder) / "journal.sqlite"
        write_s = write(path, arguments.trials, arguments.durable)
        count, opened, processor = 0, [], []
        for _ in range(5):
            start, used = time.perf_counter(), time.process_time()
            with Journal.open(path) as journal:
                count = len(journal.trials())
            opened.append(time.perf_counter() - start)
            processor.append(time.process_time() - used)
        row = {
            "trials": count, "open_and_read_s": sorted(opened), "processor_s": sorted(processor),
            "durable_trial_ms": 1000 * write_s, "bytes": path.stat().st_size,
        }  # fmt: skip
    print(
        f"{count} trials: opened and read in {min(opened):.2f} to {max(opened):.2f} s ({min(processor):.2f} s of processor);"
        f" a durable trial {1000 * write_s:.2f} ms"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    main()
