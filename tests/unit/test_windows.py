"""Latencies measured over time, with networks of the fit beside them: the machine is told from the network."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from fake_bench import FakeBench, additive_ms
from nas.arch import Arch
from nas.arch.blocks import arch_id, lower
from nas.latency import Budget, OnnxRuntime, fit_layerwise, fit_predictor
from nas.latency.devices.measure import Windows, info_fingerprint, measure_networks
from nas.latency.predictors.references import networks_of, references
from nas.latency.timing import AGAIN, Program, Timing, pooled
from nas.records import Measurement, confirmed
from nas.report import front_text, page, summarize
from nas.report.front import unconfirmed
from nas.runtime.local import LocalSettings
from nas.runtime.spec import WorkerSpec
from nas.space import Space, load_space
from nas.workflows.cost import latencies
from nas.workflows.export.sources import measured as exported_latencies
from nas.workflows.over_time import measure_over_time, not_confirmed
from report_makers import HOST, add, new_journal

WINDOWS, OVER_S = 5, 20.0
ROOT = Path(__file__).parents[2]


def tiny() -> Space:
    return load_space("tiny").fit(8, 1, 10)


def networks(count: int, seed: int = 0) -> list[Arch]:
    space, rng = tiny(), np.random.default_rng(seed)
    return [space.decode(space.sample(rng)) for _ in range(count)]


class Machine(FakeBench):
    """A bench that is slower by a factor that depends on the time; pauses take time of its clock."""

    def __init__(self, speed: Callable[[float], float]):
        super().__init__(lambda graph: additive_ms(graph) * speed(self.now - self.begun))
        self.begun, self.pauses = 0.0, 0

    def pause(self, seconds: float) -> None:
        self.pauses += 1
        self.now += seconds


class Later(Machine):
    """A machine whose windows are five seconds apart without a pause."""

    def time(self, programs: Mapping[str, Program], limits_s: Mapping[str, float] | None = None) -> dict[str, Timing]:
        self.now += 5
        return super().time(programs, limits_s)


def slow_between(first: float, last: float) -> Callable[[float], float]:
    return lambda now: 1.46 if first <= now < last else 1.0


@pytest.mark.parametrize(
    "speed, slower, factor, windows",
    [
        (lambda now: 1.0, 1.0, 1.0, WINDOWS),
        (slow_between(9, 12), 1.0, 1.0, WINDOWS + 1),  # one window does not count and is repeated
        (slow_between(9, 22), 1.0, 1.0, WINDOWS + 3),
        (slow_between(0, 1e9), 1.46, 1.46, AGAIN * WINDOWS),  # it never ends: said, not corrected
        (lambda now: 0.7, 0.7, 0.7, AGAIN * WINDOWS),  # the fit was in a slow phase
        (lambda now: 1.06, 1.06, 1.06, WINDOWS),
    ],
)
def test_the_machine_is_told_from_the_network(
    speed: Callable[[float], float], slower: float, factor: float, windows: int
) -> None:
    member, *beside = networks(4)
    machine = Machine(speed)
    known = [(arch, additive_ms(lower(arch))) for arch in beside]
    machine.begun = len({arch_id(arch) for arch in (member, *beside)})  # compiling takes a second each
    (row,) = measure_networks(machine, member, "fake", {}, None, 2.0, Windows(WINDOWS, OVER_S, machine.pause), known)
    assert row.latency_ms == pytest.approx(slower * additive_ms(lower(member)), rel=0.01)
    assert row.machine_factor == pytest.approx(factor, rel=0.01)
    assert row.corrected_ms == pytest.approx(additive_ms(lower(member)), rel=0.02)
    assert row.info["corrected_ms"] == row.corrected_ms
    assert confirmed(row.machine_factor) == (abs(factor - 1) < 0.1)
    assert machine.pauses == windows - 1
    assert machine.now - machine.begun >= OVER_S


def test_without_references_nothing_is_said_of_the_machine() -> None:
    machine = Machine(slow_between(0, 1e9))
    (row,) = measure_networks(machine, networks(1), "fake", {}, None, 2.0, Windows(WINDOWS, OVER_S, machine.pause))
    assert (row.machine_factor, row.corrected_ms, confirmed(row.machine_factor)) == (None, None, True)
    assert "machine_factor" not in row.info
    assert machine.pauses == WINDOWS - 1


@pytest.mark.parametrize(
    "speed, windows, drifts",
    [
        (lambda now: 1.0, WINDOWS, False),
        (lambda now: 1.0 if now < 10 else 1.06, WINDOWS, False),
        (slow_between(8, 100), WINDOWS + 5, False),  # the windows after the change outnumber those before it
        (slow_between(14, 22), WINDOWS + 3, False),
        (lambda now: 1.2 ** (now / 5), AGAIN * WINDOWS, True),  # it never settles: said, not corrected
    ],
)
def test_without_references_windows_are_compared_with_each_other(speed: Callable[[float], float], windows: int, drifts: bool) -> None:
    machine = Machine(speed)
    machine.begun = 1  # compiling takes a second
    (row,) = measure_networks(machine, networks(1), "fake", {}, None, 2.0, Windows(WINDOWS, OVER_S, machine.pause))
    assert machine.pauses == windows - 1
    assert (row.window_drift is not None) == drifts
    assert (unconfirmed({"host": row}) != []) == drifts
    assert row.window_drift is None or f"{row.window_drift:.0%} between the earlier windows" in unconfirmed({"host": row})[0]


def test_networks_of_the_fit_are_beside_what_any_workflow_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, space = Machine(slow_between(0, 1e9)), tiny()
    fit = fit_layerwise(space, 0, FakeBench(), Budget(0, 6, 0), "onnxruntime", "f", {}).to_dict()
    monkeypatch.setattr(OnnxRuntime, "bench", lambda self: bench)
    monkeypatch.setattr(OnnxRuntime, "info", lambda self: {})
    spec = WorkerSpec({"device": {"d": {"name": "onnxruntime"}}}, space.to_plain(), storage=str(tmp_path))
    (member,) = networks(1, seed=9)
    heard: list[str] = []
    with new_journal(tmp_path) as journal, closing(LocalSettings().start(spec)) as executor:
        journal.put("predictor/d", {**fit, "fingerprint": info_fingerprint({})})
        measure_over_time(journal, executor, "d", [(arch_id(member), member.to_dict())], 60.0, space, heard.append)
        (row,) = journal.measurements()
        lines = not_confirmed(journal, arch_id(member))
    assert heard == []
    assert row.machine_factor == pytest.approx(1.46, rel=0.01)
    assert [line.startswith("not confirmed on d: reference networks took 1.46") for line in lines] == [True]


def test_what_measures_without_a_fit_measures_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """`nas cost` and the model card of `nas export`."""
    monkeypatch.setattr(OnnxRuntime, "info", lambda self: {"machine": "A"})
    devices, (arch,) = {"d": {"name": "onnxruntime"}}, networks(1)
    for speed, loose in ((lambda now: 1.0, False), (lambda now: 1.2 ** (now / 5), True)):
        bench = Later(speed)
        monkeypatch.setattr(OnnxRuntime, "bench", lambda self, bench=bench: bench)
        (row,) = latencies(arch, devices)
        assert ("window_drift" in row.info) == loose
        heard: list[str] = []
        shown = exported_latencies(devices, arch, heard.append)
        assert list(shown) == ["d (A)" + ", not confirmed" * loose]
        assert ["not confirmed on d" in line for line in heard] == [False] + [True] * loose


def test_workflows_measure_in_one_way() -> None:
    """Only `profile`, which measures each network once among many, and what measures over time call the measuring itself."""
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "nas/workflows").rglob("*.py")}
    assert {path.stem for path, text in texts.items() if "measure_all(" in text} == {"over_time", "profile"}
    assert [path.name for path, text in texts.items() if re.search(r"make_device\(.*\)\.measure\(|device\.measure\(", text)] == []


def test_a_reference_is_measured_beside_members_and_is_no_result() -> None:
    machine, (member, beside) = Machine(lambda now: 1.0), networks(2)
    rows = measure_networks(machine, [member], "fake", {}, references=[(beside, additive_ms(lower(beside))), (member, 1.0)])
    assert [row.arch_id for row in rows] == [arch_id(member)]


@pytest.mark.parametrize("at", [0, 10, 20])
def test_a_slow_window_does_not_move_the_fit(at: float) -> None:
    """Networks are measured in three windows ten seconds apart; each latency is their median."""
    machine = Machine(lambda now: 1.46 if at - 5 <= now < at + 5 else 1.0)
    machine.begun = 1 + 6 + 5  # the empty program, networks, layers
    predictor = fit_layerwise(
        tiny(), 0, machine, Budget(5, 6, 1e9), "fake", "f", {}, clock=machine.clock, gap_s=10.0, wait=machine.pause
    )  # fmt: skip
    truth = {arch_id(arch): additive_ms(lower(arch)) for arch, _ in references(predictor.to_dict(), tiny())}
    times = {network.arch_id: network.ms for network in predictor.networks}
    assert machine.pauses == 2
    assert len(truth) == 3
    for i, ms in truth.items():
        assert times[i] == pytest.approx(ms, rel=0.01)


def test_references_span_the_latencies_of_the_fit() -> None:
    space = tiny()
    layerwise = fit_layerwise(space, 3, FakeBench(), Budget(0, 6, 0), "fake", "f", {}).to_dict()
    genomes = [tuple(space.sample(np.random.default_rng(i))) for i in range(8)]
    learned = fit_predictor(space, genomes, [additive_ms(lower(space.decode(g))) for g in genomes]).to_dict()
    for kept, times in ((layerwise, [n["ms"] for n in layerwise["networks"]]), (learned, learned["ms"])):
        found = references(kept, space)
        assert [ms for _, ms in found] == [min(times), sorted(times)[len(times) // 2], max(times)]
        assert all(ms == pytest.approx(additive_ms(lower(arch)), rel=0.01) for arch, ms in found)
        assert networks_of(kept) == len(times)
    assert references({"kind": "table"}, space) == []


def test_windows_are_pooled_by_their_median() -> None:
    windows = [Timing(ms, 2 * ms, 3 * ms, 0.5, 10) for ms in (1.0, 1.46, 1.02, 1.0)]
    found = pooled(windows)
    numbers = (found.latency_ms, found.median_ms, found.p95_ms, found.repeatability, found.runs)
    assert numbers == pytest.approx((1.01, 2.02, 3.03, 0.22 / 1.01, 40))
    assert pooled(windows[:1]) == windows[0]


@pytest.mark.parametrize("factor, loose", [(1.09, False), (1.46, True), (0.7, True), (None, False)])
def test_a_report_says_what_is_not_confirmed_and_claims_what_was_measured(
    tmp_path: Path, factor: float | None, loose: bool
) -> None:
    with new_journal(tmp_path) as journal:
        trial = add(journal, {"accuracy": 0.9, HOST: 3.0})
        info = {} if factor is None else {"machine_factor": factor}
        journal.add_measurement(Measurement(trial.arch_id, "host", "f", 4.38, 4.4, 4.5, 50, info))
        summary = summarize(journal)
    (row,) = summary.front
    assert (row.measured["host"], row.claimed[HOST]) == (4.38, 4.38)
    text = f"not confirmed on host: reference networks took {factor or 0:.2f} times what they took at the fit; 4.38 ms measured, "
    for shown in (front_text(summary), page(summary)):
        assert (text in shown) == loose
    assert ("not confirmed" in front_text(summary)) == loose
