"""`nas report`: the report of a run from its journal, or several runs on one page."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nas.cli.arch import find_arch
from nas.cli.hydra_door import Invocation
from nas.cost import cost
from nas.journal import Journal
from nas.latency import Predictor
from nas.report import Reference, compare, front_text, report_json, summarise, write_outputs
from nas.settings import build, nearest
from nas.yamlio import write_text


@dataclass(frozen=True)
class ReportCommand:
    """The keys of conf/report.yaml."""

    run: str | None = None
    runs: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    out: str | None = None
    json: bool = False

    def __post_init__(self) -> None:
        if (self.run is None) == (not self.runs):
            raise ValueError("run: wanted either run=<folder> or runs=[<folder>,..]")


def report(call: Invocation) -> None:
    command = build(ReportCommand, call.config, "")
    if command.runs:
        _compare(command)
        return
    assert command.run is not None
    folder = journal_folder(command.run)
    with Journal.open(folder / "journal.sqlite", read_only=True) as journal:
        if command.json:
            print(json.dumps(report_json(journal), allow_nan=False))
            return
        references = [_reference(name, journal) for name in command.references]
        print(front_text(summarise(journal)))
        for path in write_outputs(folder, journal, references):
            print(path)


def _reference(name: str, journal: Journal) -> Reference:
    """A network that `nas train` trained on the run's dataset; its latency is what the run's predictor says."""
    path = Path(name) / "result.json"
    arch = find_arch(str(path.with_name("arch.yaml")))
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        accuracy, dataset = float(result["valid"]["accuracy"]), result["dataset"]["name"]
    except OSError as error:
        raise ValueError(f"references: {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"references: {path}: not a result of nas train") from None
    ours = journal.get("settings", {}).get("dataset", {}).get("name")
    if dataset != ours:
        raise ValueError(f"references: {name} was trained on {dataset}, the run searched on {ours}")
    counted = cost(arch)
    metrics = {"accuracy": accuracy, "params": counted.params, "macs": counted.macs, "memory_bytes": counted.peak_activation_bytes}
    for device in journal.get("settings", {}).get("device", {}):
        kept = journal.get(f"predictor/{device}")
        if kept is not None and kept.get("kind") != "learnt":  # a learnt one knows the genomes of its space alone
            metrics[f"latency_ms/{device}"] = Predictor.from_dict(kept).predict_arch(arch)
    return Reference(arch.name, metrics)


def _compare(command: ReportCommand) -> None:
    with ExitStack() as stack:
        paths = [journal_folder(run) / "journal.sqlite" for run in command.runs]
        journals = [stack.enter_context(Journal.open(path, read_only=True)) for path in paths]
        if command.json:
            print(
                json.dumps(
                    {run: report_json(j) for run, j in zip(command.runs, journals, strict=True)}, allow_nan=False
                )
            )
            return
        out = Path(command.out or "compare.html")
        write_text(out, compare(dict(zip(command.runs, journals, strict=True))))
        print(out)


def journal_folder(run: str) -> Path:
    """The folder of a run that there is. Raises ValueError naming the nearest one."""
    folder = Path(run)
    if not (folder / "journal.sqlite").is_file():
        around = [p.parent.name for p in folder.parent.glob("*/journal.sqlite")] if folder.parent.is_dir() else []
        near = nearest(folder.name, around)
        hint = (
            f"; did you mean {folder.parent / near}?"
            if near
            else f" (runs there: {', '.join(sorted(around)[:10])})"
            if around
            else ""
        )
        raise ValueError(f"run: no journal.sqlite in {folder}{hint}")
    return folder
