"""What the models of a run would try next, with what they expect of it and how it differs from what was tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.core.text import aligned
from nas.core.yamlio import dump_yaml, write_text
from nas.estimates import Suggested
from nas.estimates import suggest as find_suggestions
from nas.records import JSON
from nas.report.format import label, show
from nas.workflows.estimate import (
    Learning,
    asked_run,
    flat_intervals,
    plain_intervals,
    plain_learning,
    shown_interval,
)
from nas.workflows.table import Table

MOST = 100
CHANGES = 4  # that are shown of a network in a line


@dataclass(frozen=True)
class Suggestions(Sequence[Suggested]):
    """The networks, the most promising first.

    Args:
        networks: With predictions, expected gain and the chance to stand on the front.
        single: The metric that gains are of, where the run has one objective; else they are fractions of the hypervolume.
        learning: What the predictions rest on.
    """

    networks: tuple[Suggested, ...]
    single: str
    learning: Learning

    def __getitem__(self, index: int) -> Suggested:  # type: ignore[override]
        return self.networks[index]

    def __len__(self) -> int:
        return len(self.networks)

    def __iter__(self) -> Iterator[Suggested]:
        return iter(self.networks)

    @property
    def table(self) -> Table:
        """A row a network: each metric with the ends of its interval, gain and chance."""
        return Table(tuple({"id": one.id, **flat_intervals(one.predicted), "gain": one.gain, "chance": one.chance} for one in self))

    def to_dict(self) -> dict[str, JSON]:
        """Plain data for JSON; nan is null."""
        networks = [
            {"id": one.id, "genome": list(one.genome), "predicted": plain_intervals(one.predicted), "gain": one.gain,
             "chance": one.chance, "like": one.like, "changes": [list(change) for change in one.changes],
             "arch": one.arch.to_dict()}
            for one in self
        ]  # fmt: skip
        return {"networks": networks, "gain": self.single or "hypervolume", **plain_learning(self.learning)}

    def write(self, folder: str | Path) -> list[Path]:
        """Writes the architecture of each as <id>.yaml, for `nas train` and `nas cost`; returns the files."""
        files = []
        for one in self:
            path = Path(folder) / f"{one.id}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, dump_yaml(one.arch.to_dict(), f"suggested: {self._why(one)}"))
            files.append(path)
        return files

    def __str__(self) -> str:
        if not self.networks:
            return f"nothing new satisfies the constraints\n{self.learning}"
        names = list(self[0].predicted)
        rows = [
            [one.id, *(shown_interval(name, one.predicted[name]) for name in names), self._gain(one), f"{100 * one.chance:.0f} %"]
            for one in self
        ]
        lines = aligned([["", *(label(name) for name in names), "expected gain", "chance"], *rows]).splitlines()
        width, reasons = max(map(len, lines)), ["why", *map(self._why, self)]
        explained = [f"{line:{width}}  {why}" for line, why in zip(lines, reasons, strict=True)]
        return "\n".join([*explained, self._legend, str(self.learning)])

    @property
    def _legend(self) -> str:
        of = f"of {label(self.single)} over the best" if self.single else "of the front's hypervolume"
        return f"expected gain: {of}, given the lines above; chance: that no tried network is better"

    def _gain(self, one: Suggested) -> str:
        return show(self.single, one.gain) if self.single else f"{100 * one.gain:.2f} %"

    def _why(self, one: Suggested) -> str:
        """`as trial 12, but stages[1].kernel 5, not 3`."""
        changes = [f"{gene} {here}, not {there}" for gene, there, here in one.changes[:CHANGES]]
        more = f"; {len(one.changes) - CHANGES} more" if len(one.changes) > CHANGES else ""
        return f"as trial {one.like}, but {'; '.join(changes)}{more}" if changes else f"as trial {one.like}"

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


def suggest(run: str | Path, n: int = 5, seed: int = 0) -> Suggestions:
    """What the models of a run would try next; the run is not changed.

    Args:
        run: The folder of the run.
        n: How many networks, 1 to `MOST`.
        seed: Of candidates and draws: equal seeds, equal suggestions.

    Raises:
        ValueError: There is no run, or it has too few trials.
    """
    if not 1 <= n <= MOST:
        raise ValueError(f"n: expected 1 to {MOST}, got {n}")
    with asked_run(run) as (models, _):
        single = models.objectives.columns[0] if len(models.objectives.metrics) == 1 else ""
        return Suggestions(tuple(find_suggestions(models, n, seed)), single, Learning.of(models))
