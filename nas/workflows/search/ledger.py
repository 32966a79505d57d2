"""What the search must know of its trials so far, in a few hundred bytes each: the journal has the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from nas.journal import Journal
from nas.records import Trial, trained

CHUNK = 1000  # trials read at once where a resumed run replays its past


class History:
    """Counts, known architectures, and the trials that may still change or will be observed soon.

    `counted` are trained trials, `idle` proposals since the last of them; `keep` is how many of the last trials stay at hand.
    """

    def __init__(self, journal: Journal, keep: int):
        self._journal, self._keep = journal, keep
        self.counted = self.idle = self.count = 0
        self._recent: dict[int, Trial] = {}
        self._first: dict[str, int] = {}
        self._genomes: set[int] = set()  # eight bytes of a hash each
        self._infeasible: set[str] = set()
        self.repeated = False  # whether any trial was answered by another's result
        self._repeats: dict[int, list[int]] = {}
        for start in range(0, journal.next_number, CHUNK):
            for trial in journal.trials(start, start + CHUNK):
                self.put(trial)
                self.forget(self.count - keep)

    def __getitem__(self, number: int) -> Trial:
        return self._recent.get(number) or self._journal.trial(number)

    @property
    def genomes(self) -> int:
        """Distinct ones so far."""
        return len(self._genomes)

    def has(self, genome: tuple[int, ...]) -> bool:
        """Whether a trial had this genome."""
        return hash(genome) in self._genomes

    def tried(self, arch_id: str, fidelity: int) -> bool:
        """Whether this architecture was trained at a fidelity, is about to be, or was turned away."""
        return (key := _key(arch_id, fidelity)) in self._first or key in self._infeasible

    @property
    def pending(self) -> list[Trial]:
        """Trials without an outcome, in order of number."""
        return [trial for _, trial in sorted(self._recent.items()) if not trial.done]

    def put(self, trial: Trial) -> None:
        """A new trial, or what became of one."""
        self._recent[trial.number] = trial
        if trial.number < self.count:
            return
        self.count += 1
        self._genomes.add(hash(trial.genome))
        self.counted, self.idle = self.counted + trained(trial), 0 if trained(trial) else self.idle + 1
        self.repeated = self.repeated or trial.repeat_of is not None
        if trial.outcome == "infeasible":
            self._infeasible.add(_key(trial.arch_id, trial.fidelity))
        if trained(trial):
            self._first.setdefault(_key(trial.arch_id, trial.fidelity), trial.number)
        elif trial.repeat_of is not None and not trial.done and not self[trial.repeat_of].done:
            self._repeats.setdefault(trial.repeat_of, []).append(trial.number)

    def first(self, arch_id: str, fidelity: int) -> int | None:
        """The trial that trained this architecture first."""
        return self._first.get(_key(arch_id, fidelity))

    def repeats(self, number: int) -> list[Trial]:
        """Trials that wait for this one's result."""
        return [self[later] for later in self._repeats.pop(number, ())]

    def between(self, first: int, end: int) -> Iterator[Trial]:
        """Trials first .. end - 1, the older ones from the journal."""
        for start in range(first, end, CHUNK):
            stop = min(start + CHUNK, end)
            kept = [self._recent.get(number) for number in range(start, stop)]
            yield from (t for t in kept if t) if None not in kept else self._journal.trials(start, stop)

    def forget(self, number: int) -> None:
        """Lets go of what is done and older than this number."""
        for old in [n for n, trial in self._recent.items() if n < number and trial.done]:
            del self._recent[old]


class Trials(Protocol):
    def __getitem__(self, number: int, /) -> Trial: ...


def root_of(trials: Trials, trial: Trial) -> int:
    """Number of the trial that this one's training began with: its own, or where it was promoted, that of the first fidelity."""
    while trial.fidelity and trial.parent is not None:
        trial = trials[trial.parent]
        trial = trial if trial.repeat_of is None else trials[trial.repeat_of]
    return trial.number


def _key(arch_id: str, fidelity: int) -> str:
    return f"{arch_id}/{fidelity}"
