"""All that a report shows about a run, read from its journal once."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from nas.journal import Journal, Lease
from nas.objectives import COSTS, PREDICTED, Objectives, TaskMetrics, device_of
from nas.objectives.alike import LATENCY_STEP
from nas.records import JSON, OUTCOMES, Event, Measurement, Trial
from nas.report.front import FrontRow, Progress, missed_target, progress, reward_of, verified
from nas.report.hints import controller_hint
from nas.report.noise import within_noise
from nas.report.proxy import ProxyRow, proxy_rows

TEST = "test_"
SMALLEST = f"one validation image or {100 * LATENCY_STEP:.0f} % of a measured latency"
ENDS = ("finish", "interrupted", "failed", "killed")  # what stands at the end of a session; `killed` carries the time of its last heartbeat


@dataclass(frozen=True)
class TrialRow:
    """One trial; `train_s` and `compile_s` sum its evaluations for the search, in seconds.

    Of `compile_s` nobody waited for `hidden_s`. `native`: whether its last training ran with native kernels; None where that is not known
    or nothing was trained.
    """

    number: int
    id: str
    outcome: str
    error: str
    metrics: Mapping[str, float]
    reward: float
    fidelity: int = 0
    attempts: int = 0
    train_s: float = 0.0
    compile_s: float = 0.0
    native: bool | None = None
    hidden_s: float = 0.0


@dataclass(frozen=True)
class LatencyRow:
    """A measured architecture; `predicted_ms` is nan where no trial of it predicted this device.

    `counted_bytes` are the analytic peak of activations, `memory_bytes` what the compiler reports for the whole program.
    """

    number: int | None
    id: str
    device: str
    predicted_ms: float
    measured_ms: float
    p95_ms: float
    counted_bytes: float = math.nan
    memory_bytes: float = math.nan
    energy_mj: float = math.nan
    name: str = ""  # of a scaled member


@dataclass(frozen=True)
class Summary:
    """One run. `counts` are trials by outcome, with `repeated` and `pending`; together they are all trials.

    `failures` are trials whose training did not end ok, `infeasible` those that violate a constraint and were not trained.
    `wall_s` sums the run's sessions; `wall_known` is False where one was killed, and the sum is a lower bound then.
    `inspected` is what the network of its `trial` answers on the validation split, empty where that is not known.
    `proxies` compare short with long trainings, which `fidelities` describe.
    `machines` says by device what its latencies were measured with, such as `LiteRT on <processor>, not a phone`.
    Where `measured`, front, rewards and best go by measured latencies, and `demoted` are off the front by them.
    `alike` are left off it because they are no better than a member by what can be told (`nas.objectives.alike`).
    `images` counts those of the validation and the test split, from which the standard error of an accuracy follows.
    `hypervolume` of each progress entry is the dominated fraction of the box between the best and the worst values seen.
    """

    name: str
    command: str
    settings: Mapping[str, JSON]
    versions: Mapping[str, JSON]
    space: Mapping[str, JSON]
    task: TaskMetrics
    objectives: Objectives
    counts: Mapping[str, int]
    trials: tuple[TrialRow, ...]
    front: tuple[FrontRow, ...]
    best: FrontRow | None
    progress: tuple[Progress, ...]
    failures: tuple[TrialRow, ...]
    infeasible: tuple[TrialRow, ...]
    latencies: tuple[LatencyRow, ...]
    machines: Mapping[str, str]
    demoted: tuple[FrontRow, ...]
    alike: tuple[FrontRow, ...]
    measured: bool
    events: tuple[Event, ...]
    sessions: int
    started: float | None
    wall_s: float
    workers: int
    wall_known: bool
    proxies: tuple[ProxyRow, ...] = ()
    fidelities: tuple[Mapping[str, JSON], ...] = ()
    inspected: Mapping[str, JSON] = field(default_factory=dict)
    images: Mapping[str, int] = field(default_factory=dict)

    @property
    def near(self) -> Mapping[int, str]:
        """Members of the front whose accuracy the validation images do not tell from that of the next better one."""
        return within_noise(self.front, self.task.primary, self.images.get("valid", 0))

    @property
    def test_column(self) -> str:
        """The column of the primary metric on the test split: `test_accuracy`."""
        return f"{TEST}{self.task.primary}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the front has to know: a target that is missed, members that are off it by measurement."""
        off = ", ".join(f"{row.title} ({row.id})" for row in self.demoted)
        alike = "; ".join(row.alike for row in self.alike)
        loose = [f"{row.title} ({row.id}): {text}" for row in self.front for text in row.unconfirmed]
        return tuple(filter(None, (*loose, missed_target(self.best, self.objectives), off and f"off the front by measured latency: {off}",
                             alike and f"left off, better by no more than {SMALLEST}: {alike}",
                             controller_hint(self.settings, self.objectives))))  # fmt: skip

    @property
    def compile_s(self) -> float:
        """Seconds of all compilations, over all workers."""
        return sum(row.compile_s for row in self.trials)

    @property
    def hidden_s(self) -> float:
        """Seconds of compilations that nobody waited for, as another training ran meanwhile."""
        return sum(row.hidden_s for row in self.trials)

    @property
    def busy(self) -> float:
        """The fraction of the workers' wall clock in which they trained; nan where it is not known how many there were."""
        return min(self.train_s / (self.workers * self.wall_s), 1.0) if self.workers and self.wall_s else math.nan

    @property
    def train_s(self) -> float:
        """Seconds of all trainings, over all workers."""
        return sum(row.train_s for row in self.trials)

    @property
    def points(self) -> tuple[TrialRow, ...]:
        """Trials that trained to the end."""
        return tuple(row for row in self.trials if row.outcome == "ok")

    @property
    def devices(self) -> tuple[str, ...]:
        """Devices with a prediction or a measurement, in order of appearance."""
        named = [device for name in metric_names(self) if (device := device_of(name))]
        return tuple(dict.fromkeys([*named, *(row.device for row in self.latencies)]))


def summarize(journal: Journal) -> Summary:
    """Everything reported of a run, from its journal alone, also while it runs.

    Args:
        journal: Of a run of any age.

    Returns:
        The summary.
    """
    trials, events = journal.trials(), journal.events()
    kept = {key: journal.get(key) for key in ("task", "objectives")}
    try:
        task = TaskMetrics.of(kept["task"])
        objectives = read_objectives(kept["objectives"], task)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{journal.path}: damaged: task or objectives: {error}") from None
    measurements = journal.measurements()
    rows = _trial_rows(journal, trials, objectives)
    images = journal.get("images") or {}
    found = verified(trials, objectives, measurements, journal.evaluations("test"), task, images.get("valid", 0))
    best = found.best
    further = journal.get("further") or {}
    front = tuple(replace(row, arch=journal.get(f"arch/{row.id}"), later=_later(further, row.number)) for row in found.front)
    wall, known = _wall(events, journal.lease())
    starts = [event.time for event in events if event.kind == "start"]
    return Summary(
        name=journal.path.parent.name,
        command=journal.get("command") or "",
        settings=journal.get("settings") or {},
        versions=journal.get("versions") or {},
        space=journal.get("space") or {},
        task=task,
        objectives=objectives,
        counts=_counts(trials),
        trials=rows,
        front=front,
        best=replace(best, arch=journal.get(f"arch/{best.id}")) if best else None,
        progress=progress(trials, objectives),
        failures=tuple(row for row in rows if row.outcome not in ("ok", "infeasible", "pending", "repeated")),
        infeasible=tuple(row for row in rows if row.outcome == "infeasible"),
        latencies=_latencies(trials, measurements),
        machines=_machines(journal, measurements),
        demoted=found.demoted,
        alike=found.alike,
        measured=found.measured,
        events=tuple(events),
        sessions=len(starts),
        started=min(starts, default=None),
        wall_s=wall,
        workers=max((int(event.data.get("count", 0)) for event in events if event.kind == "workers"), default=0),
        wall_known=known,
        proxies=proxy_rows(trials, task),
        fidelities=tuple(journal.get("fidelities") or ()),
        inspected=journal.get("inspected") or {},
        images=images,
    )


def _later(further: Mapping[str, JSON], number: int) -> dict[str, float]:
    """Metrics of a trial's trainings after the search, by names such as `finetuned_accuracy`."""
    found = further.get(str(number), {})
    return {f"{what}_{name}": value for what, entry in found.items() for name, value in entry["metrics"].items()}


def read_objectives(data: JSON, task: TaskMetrics) -> Objectives:
    """Objectives from their JSON form.

    Args:
        data: From the journal; a run that ended before it had any counts as one of the task's primary metric.
        task: Names the primary metric and directions.

    Returns:
        The objectives.
    """
    if not data:
        return Objectives(((task.primary, task.metrics[task.primary]),), reward="first", trained=tuple(task.metrics.items()))
    return Objectives(
        tuple((name, way) for name, way in data["metrics"]),
        tuple((name, bound) for name, bound in data.get("constraints", ())),
        trained=tuple((name, way) for name, way in data.get("trained", ())) or tuple(task.metrics.items()),
        **{key: data[key] for key in ("reward", "exponent", "beta", "over", "cost", "target") if key in data},
    )


def metric_names(summary: Summary) -> tuple[str, ...]:
    """Names of all metrics of trials that trained: the objectives first, then what else was recorded, in a fixed order."""
    seen = {name for row in summary.points for name in row.metrics}
    order = (*summary.task.metrics, PREDICTED, *COSTS)

    def place(name: str) -> tuple[int, str]:
        kind = name.partition("/")[0]
        return (order.index(kind) if kind in order else len(order), name)

    return tuple(dict.fromkeys([*summary.objectives.columns, *sorted(seen, key=place)]))


def _state(trial: Trial) -> str:
    if trial.outcome is None:
        return "pending"
    return "repeated" if trial.repeat_of is not None else trial.outcome


def _counts(trials: Sequence[Trial]) -> dict[str, int]:
    counted = Counter(_state(trial) for trial in trials)
    return {state: counted[state] for state in (*OUTCOMES, "repeated", "pending") if counted[state]}


def _trial_rows(journal: Journal, trials: Sequence[Trial], objectives: Objectives) -> tuple[TrialRow, ...]:
    train, compiled, hidden = (defaultdict[int, float](float) for _ in range(3))
    native: dict[int, bool | None] = {}
    for evaluation in journal.evaluations("search"):
        native[evaluation.trial] = evaluation.native
        train[evaluation.trial] += 0 if math.isnan(evaluation.train_s) else evaluation.train_s
        compiled[evaluation.trial] += 0 if math.isnan(evaluation.compile_s) else evaluation.compile_s
        hidden[evaluation.trial] += evaluation.hidden_s or 0.0
    return tuple(
        TrialRow(
            t.number, t.arch_id, _state(t), t.error, t.metrics, reward_of(objectives, t.metrics) if t.ok else math.nan,
            t.fidelity, t.attempts, train[t.number], compiled[t.number], native.get(t.number),
            hidden[t.number],
        )
        for t in trials
    )  # fmt: skip


def _latencies(trials: Sequence[Trial], measurements: Sequence[Measurement]) -> tuple[LatencyRow, ...]:
    first: dict[str, Trial] = {}
    for trial in trials:
        first.setdefault(trial.arch_id, trial)
    latest = {(m.arch_id, m.device): m for m in measurements}
    rows = []
    for (arch_id, device), m in latest.items():
        trial = first.get(arch_id)
        predicted = trial.metrics.get(f"{PREDICTED}/{device}", math.nan) if trial else math.nan
        counted = trial.metrics.get("memory_bytes", math.nan) if trial else math.nan
        rows.append(
            LatencyRow(
                trial.number if trial else None, arch_id, device, predicted, m.latency_ms, m.p95_ms, counted,
                _reported(m, "memory_bytes"), _reported(m, "energy_mj"),
            )
        )  # fmt: skip
    return tuple(rows)


def _machines(journal: Journal, measurements: Sequence[Measurement]) -> dict[str, str]:
    """By device, of those that say so: the fit's, else the last measurement's."""
    infos = {m.device: m.info for m in measurements}
    for device in (journal.get("settings") or {}).get("device") or {}:
        kept = journal.get(f"predictor/{device}") or {}
        infos[device] = kept.get("info") or infos.get(device, {})
    return {device: str(info["machine"]) for device, info in infos.items() if info.get("machine")}


def _reported(measurement: Measurement, name: str) -> float:
    """What the platform reports besides times; nan where it does not."""
    value = measurement.info.get(name)
    return float(value) if isinstance(value, int | float) else math.nan


def _wall(events: Sequence[Event], lease: Lease | None) -> tuple[float, bool]:
    """Seconds of all sessions, and whether each has an end; one that runs, or was killed last, has a heartbeat."""
    total, known = 0.0, True
    starts = [i for i, event in enumerate(events) if event.kind == "start"]
    for i, end in zip(starts, [*starts[1:], len(events)], strict=False):
        last = events[end - 1]
        beat = lease.time if lease and end == len(events) else last.time
        total += max(last.time - events[i].time, beat - events[i].time, 0.0)
        known = known and (last.kind in ENDS or beat > last.time)
    return total, known
