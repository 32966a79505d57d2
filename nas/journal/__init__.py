"""The journal of a run: every trial, evaluation, measurement and event, in one SQLite file.

    with Journal.create(path, meta={"seed": 7}) as journal:
        trial = journal.begin(Trial(0, genome=(1, 0, 2), arch_id="3f9a"))                      # on disk before training
        journal.finish(replace(trial, outcome="ok", metrics={"accuracy": 0.71}), evaluations)  # all of it, or nothing

One process writes, by a lease that its heartbeat renews (`lease`); any number read meanwhile: `Journal.open(path,
read_only=True)` shows one moment of it. What a call has returned from is on disk (WAL, synchronous=FULL). The tables are
for people too:

    sqlite3 journal.sqlite "select number, outcome, metrics from trial"

Genomes and mappings are JSON text, in which a nan or an infinity is written {"$float": "nan"}. Calls that write return
the record as it will be read back (lists for tuples, floats for numpy's scalars), so that a controller observes the same now
and after a resume. WAL does not work on network file systems.

What users and machines can do to the file (missing, foreign, damaged, read-only, full disk, in use) raises
JournalError; wrong calls (finishing twice, skipping a number) raise AssertionError.
"""

from nas.journal.database import JournalError
from nas.journal.journal import Journal, diff
from nas.journal.lease import Lease

__all__ = ["Journal", "JournalError", "Lease", "diff"]
