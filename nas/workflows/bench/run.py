"""A contest of controllers on a published table: what is missing is run, and its page is written."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas.controllers import make_controller
from nas.core.jsonio import parse_json
from nas.core.paths import CONF
from nas.core.plugins import load_plugins
from nas.core.settings import check_ranges, did_you_mean
from nas.core.yamlio import read_yaml, write_text
from nas.workflows.bench.contest import Contest, Yardstick, tasks, work
from nas.workflows.bench.page import Results, as_csv, curves_svg, page
from nas.workflows.bench.store import Store, run_all


@dataclass(frozen=True)
class BenchCommand(Contest):
    """The keys of conf/bench.yaml: the contest, who takes part, and how."""

    controllers: tuple[Any, ...] = ()
    evaluations: int = 100
    seeds: int = 5
    in_flight: int = 0
    workers: int | None = None
    run: str | None = None
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_ranges(self, evaluations=(1, 10**6), seeds=(1, 10_000), in_flight=(0, 10_000), workers=(1, 1024))
        if not self.controllers:
            raise ValueError("controllers: empty; expected names such as [random,bayesian]")

    @property
    def contest(self) -> Contest:
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(Contest)}
        return Contest(**{**shared, "path": str(Path(self.path).expanduser().absolute())})


def bench(
    command: BenchCommand, folder: Path, known: Sequence[str], message: Callable[[str], object]
) -> tuple[Results, list[Path]]:
    """Runs what is missing of the contest and writes its page.

    Args:
        command: The settings; plugins are loaded.
        folder: Of the results.
        known: Names of controllers.
        message: Receives a line for each run.

    Returns:
        The results and the files written.

    Raises:
        ValueError: For a mistake in the settings.
    """
    controllers = dict(checked_controllers(command, known))
    contest = command.contest
    contest.check()
    yardstick = _yardstick(contest, folder, message)
    todo = tasks(contest, controllers, command.seeds, command.evaluations, command.in_flight, yardstick)
    runs: dict[str, list[Mapping[str, Any]]] = {name: [] for name in controllers}
    given = ([*command.plugins], os.getcwd())
    for record in run_all(todo, work, Store(folder / "results.jsonl"), command.workers or os.cpu_count() or 1, _start, given):
        runs[record["controller"]].append(record)
        done = sum(map(len, runs.values()))
        message(f"{done} of {len(todo)}: {record['controller']}, seed {record['seed']}, {record['seconds']:.1f} s")
    results = Results(contest, yardstick, {name: sorted(found, key=lambda r: r["seed"]) for name, found in runs.items()})
    return results, list(_write(results, folder))


def _start(plugins: list[str], folder: str) -> None:
    load_plugins(plugins, [folder])


def checked_controllers(command: BenchCommand, known: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names of conf/controller/, or settings whose `name` is one and whose other keys change it: label and settings."""
    for i, entry in enumerate(command.controllers):
        changes = dict(entry) if isinstance(entry, Mapping) else {"name": entry}
        name = changes.pop("name", "")
        if name not in known:
            raise ValueError(f"controllers[{i}]: unknown {name!r}{did_you_mean(str(name), known)} (known: {', '.join(known)})")
        file = CONF / "controller" / f"{name}.yaml"
        settings = {**(read_yaml(file) if file.is_file() else {"name": name}), **changes}
        make_controller(settings, f"controllers[{i}]")
        yield " ".join([str(name), *(f"{key}={value}" for key, value in changes.items())]), settings


def _yardstick(contest: Contest, folder: Path, message: Callable[[str], object]) -> Yardstick:
    """Made once, kept in the folder; it costs a minute on a large space."""
    file, asked = folder / "yardstick.json", json.loads(json.dumps(asdict(contest)))
    if file.exists():
        kept = parse_json(file.read_text(encoding="utf-8"))
        if kept["contest"] != asked:
            key = next(k for k in asked if kept["contest"].get(k) != asked[k])
            raise ValueError(f"{key}: the results in {folder} are of {kept['contest'].get(key)}; run=<another folder> starts anew")
        found = kept["yardstick"]
        return Yardstick(**{**found, "reference": tuple(found["reference"])})
    message("looking for the best front of the table ...")
    yardstick = Yardstick.of(contest)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps({"contest": asked, "yardstick": asdict(yardstick)}, indent=1) + "\n")
    return yardstick


def _write(results: Results, folder: Path) -> Iterator[Path]:
    texts = {"results.csv": as_csv(results), "report.html": page(results)}
    texts |= {f"{measure}.svg": curves_svg(results, measure) for measure in results.measures[:2]}
    for name, text in texts.items():
        write_text(folder / name, text)
        yield folder / name
