"""What a report leaves in a run's folder, and its JSON."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.core.yamlio import dump_yaml, write_text
from nas.journal import Journal
from nas.objectives import MEASURED
from nas.records import JSON
from nas.report.asked import asked_section
from nas.report.format import label, show
from nas.report.front import FrontRow
from nas.report.html import page
from nas.report.noise import standard_error
from nas.report.plots import Reference
from nas.report.scaled import with_scaled
from nas.report.summary import Summary, metric_names, summarize
from nas.report.text import value_of

WHOLE = ("params", "macs", "memory_bytes")
MARKS = ("# trial ", "# scaled ")  # how our files begin


def write_outputs(
    run_dir: Path, journal: Journal, references: Sequence[Reference] = (), scaled: Sequence[FrontRow] = ()
) -> list[Path]:  # fmt: skip
    """Writes front.csv, trials.csv, front/<id>.yaml, best.yaml and report.html, each in one step.

    Args:
        run_dir: Folder of the run. Members that left the front lose their file, other files stay.
        journal: Of the run.
        references: Known networks, drawn beside the front.
        scaled: Scaled members; they are on the front where nothing dominates them.

    Returns:
        The paths, report.html last.

    Raises:
        ValueError: Names a file that cannot be written.
    """
    summary, beside = with_scaled(summarize(journal), scaled)
    references = [*references, *beside]
    folder = run_dir / "front"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder}: {error.strerror}") from None
    files = {run_dir / "front.csv": front_csv(summary), run_dir / "trials.csv": trials_csv(summary)}
    for row in summary.front:
        if row.arch is not None:
            path = folder / f"{safe_id(row)}.yaml"
            files[path] = arch_yaml(row, summary, path)
    if summary.best is not None and summary.best.arch is not None:
        path = run_dir / "best.yaml"
        files[path] = arch_yaml(summary.best, summary, path)
    files[run_dir / "report.html"] = page(summary, references, asked_section(summary, journal))
    for path, text in files.items():
        write_text(path, text)
    _remove_stale(folder, set(files))
    return list(files)


def safe_id(row: FrontRow) -> str:
    """The id as part of a file name. Raises ValueError where it could lead elsewhere."""
    if not re.fullmatch(r"[\w-]{1,64}", row.id):
        raise ValueError(f"journal: trial {row.number}: the id {row.id!r} is no file name")
    return row.id


def front_csv(summary: Summary) -> str:
    """The front as CSV: `number,id`, a column a metric, `measured_ms/<device>`, `test_<metric>`, and `violated` with constraints.

    Args:
        summary: Of the run.

    Returns:
        CSV text. A scaled member has its name for a number.
    """
    later = dict.fromkeys(name for row in summary.front for name in row.later)
    names = [*metric_names(summary), *(f"{MEASURED}/{device}" for device in summary.devices), summary.test_column, *later]
    constrained = bool(summary.objectives.constraints)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["number", "id", *names, *(["violated"] if constrained else [])])
    for row in summary.front:
        cells = [_cell(name, value_of(row, name)) for name in names]
        writer.writerow([row.name or row.number, row.id, *cells, *(["; ".join(row.violated)] if constrained else [])])
    return out.getvalue()


def trials_csv(summary: Summary) -> str:
    """All trials as CSV, in order of number: outcome, every metric, reward, seconds, front, whether native kernels ran, error.

    `front` is `member`, `alike` (undominated, but no better than a member by what can be told), `demoted` (by measurement) or empty.

    Args:
        summary: Of the run.

    Returns:
        CSV text.
    """
    names = metric_names(summary)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["number", "id", "outcome", "fidelity", "attempts", *names, *NUMBERS, "front", "native_kernels", "error"])
    places = _places(summary)
    for row in summary.trials:
        metrics = [_cell(name, row.metrics.get(name, math.nan)) for name in names]
        numbers = [_cell(name, getattr(row, name)) for name in NUMBERS]
        about, after = [row.number, row.id, row.outcome, row.fidelity, row.attempts], [places.get(row.number, ""), NATIVE[row.native]]
        writer.writerow([*about, *metrics, *numbers, *after, _line(row.error)])
    return out.getvalue()


NUMBERS = ("reward", "compile_s", "train_s")
NATIVE = {True: "yes", False: "no", None: ""}


def _places(summary: Summary) -> dict[int, str]:
    """What became of the trials that no other dominates by prediction."""
    named = {"member": summary.front, "demoted": summary.demoted, "alike": summary.alike}
    return {row.number: place for place, rows in named.items() for row in rows}


def _cell(name: str, value: float) -> str:
    if math.isnan(value):
        return ""
    return str(int(value)) if name in WHOLE and float(value).is_integer() else repr(float(value))


def arch_yaml(row: FrontRow, summary: Summary, path: Path) -> str:
    """The architecture, under comments with its origin and the command that trains it."""
    assert row.arch is not None
    parts = [f"{name} {show(name, value, '-')}" for name, value in row.metrics.items()]
    parts += [f"measured on {device} {show(MEASURED, ms, '-')}" for device, ms in row.measured.items()]
    if not math.isnan(row.test):
        parts.append(f"{label(summary.test_column)} {show(summary.test_column, row.test)}")
    whose = f"scaled member {_line(row.name)} beside" if row.name else f"trial {row.number} of"
    lines = [f"{whose} {_line(summary.name)}, architecture {row.id}", _line(", ".join(parts))]
    lines += [f"constraint violated by measurement: {_line('; '.join(row.violated))}"] if row.violated else []
    return dump_yaml(row.arch, "\n".join([*lines, train_command(path, summary.settings)]))


def train_command(path: Path, settings: Mapping[str, JSON]) -> str:
    """The command that trains a member, as typed in the folder where the report was written.

    Args:
        path: YAML of the architecture.
        settings: Of the run: dataset, plugins and the weights that candidates start from are taken from them.

    Returns:
        `nas train arch=... dataset=...`.
    """
    near = os.path.relpath(path)
    command = ["nas", "train", _override("arch", str(path.absolute()) if near.startswith("..") else near)]
    dataset = settings.get("dataset")
    if isinstance(dataset, Mapping) and isinstance(dataset.get("name"), str):
        command.append(_override("dataset", dataset["name"]))
        if isinstance(dataset.get("path"), str):
            command.append(_override("dataset.path", dataset["path"]))
    evaluator = settings.get("evaluator")  # the start of shared weights is not where a member starts
    if isinstance(evaluator, Mapping) and evaluator.get("name") != "supernet" and isinstance(start := evaluator.get("start"), str):
        command.append(_override("weights", start))
    plugins = settings.get("plugins")
    if isinstance(plugins, list | tuple) and plugins:
        command.append(_override("plugins", f"[{','.join(map(str, plugins))}]", quoted=False))
    return _line(" ".join(command))


def _override(key: str, value: str, quoted: bool = True) -> str:
    """One Hydra override as typed in a shell, with quotes for both where the value needs them."""
    if re.fullmatch(r"[\w./-]+", value):
        return f"{key}={value}"
    inner = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if quoted else value
    text = f"{key}={inner}".replace("'", "'\\''")
    return f"'{text}'"


def _line(text: str) -> str:
    """One line, whatever the names in it hold: nothing may end the comment."""
    return "".join(char if char.isprintable() else " " for char in text)


def _remove_stale(folder: Path, kept: set[Path]) -> None:
    for path in folder.glob("*.yaml"):
        if path not in kept and path.is_file():
            with path.open(encoding="utf-8", errors="replace") as file:
                ours = file.read(max(map(len, MARKS))).startswith(MARKS)
            if ours:
                path.unlink()


def report_json(journal: Journal, scaled: Sequence[FrontRow] = ()) -> dict[str, JSON]:
    """Front, counts by outcome and settings as plain JSON.

    Args:
        journal: Of the run.
        scaled: Scaled members, as in `write_outputs`.

    Returns:
        A mapping; nan and infinities are null.
    """
    summary, _ = with_scaled(summarize(journal), scaled)
    front = [
        {
            "number": None if row.name else row.number, "scaled": row.name or None, "id": row.id,
            "metrics": dict(row.metrics), "measured_ms": dict(row.measured),
            "standard_error": standard_error(row.metrics.get(summary.task.primary, math.nan), summary.images.get("valid", 0)),
            "within_noise_of": summary.near.get(row.number),
            **row.later, summary.test_column: row.test, "reward": row.reward, "violated": list(row.violated),
        }
        for row in summary.front
    ]  # fmt: skip
    out = {
        "name": summary.name,
        "front": front,
        "alike": [{"number": row.number, "id": row.id, "why": row.alike} for row in summary.alike],
        "best": {"number": summary.best.number, "id": summary.best.id} if summary.best else None,
        "counts": dict(summary.counts),
        "hypervolume": summary.progress[-1].hypervolume if summary.progress else None,
        "failures": [{"number": r.number, "id": r.id, "outcome": r.outcome, "error": r.error} for r in summary.failures],
        "objectives": {"metrics": dict(summary.objectives.metrics), "constraints": dict(summary.objectives.constraints),
                       "reward": summary.objectives.reward, "target": summary.objectives.target},
        "proxies": [dataclasses.asdict(row) for row in summary.proxies],
        "settings": dict(summary.settings),
        "versions": dict(summary.versions),
        "wall_s": summary.wall_s,
        "compile_s": summary.compile_s,
        "hidden_s": summary.hidden_s,
        "busy": summary.busy,
        "train_s": summary.train_s,
    }  # fmt: skip
    return _finite(out)


def _finite(value: JSON) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
