"""Networks trained outside a search, read for its report: what `nas train` and `nas scale` left, by the search's own objectives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.arch import Arch
from nas.arch.blocks import arch_id
from nas.arch.find import find_arch
from nas.core.jsonio import parse_json
from nas.cost import cost
from nas.journal import Journal
from nas.latency import LayerwisePredictor
from nas.objectives import PREDICTED
from nas.records import JSON
from nas.report import FrontRow
from nas.tasks import task_of
from nas.workflows.run_folder import flat


@dataclass(frozen=True)
class TrainedMember:
    """metrics: as a trial has them; measured, p95: ms by device; test: the primary metric on the test split, nan where there is
    none; note: how its training differs from the search's, nothing where it does not."""

    arch: Arch
    metrics: Mapping[str, float]
    measured: Mapping[str, float]
    p95: Mapping[str, float]
    test: float
    note: str


def scaled_members(names: Sequence[str], journal: Journal) -> list[FrontRow]:
    """Members of `nas scale` runs, or folders of `nas train` that hold one. Raises ValueError naming a folder without any."""
    rows: list[FrontRow] = []
    for name in names:
        folder = Path(name)
        found = [folder] if (folder / "result.json").is_file() else sorted(p.parent for p in folder.glob("*/result.json"))
        if not found:
            raise ValueError(f"scaled: {name}: no trained members there; nas scale .. train=true run={name} leaves them")
        for path in found:
            m = read_member(path, journal, "scaled")
            rows.append(
                FrontRow(
                    -1 - len(rows), arch_id(m.arch), m.metrics, measured=m.measured, p95=m.p95, test=m.test,
                    arch=m.arch.to_dict(), name=m.arch.name, note=m.note,
                )
            )  # fmt: skip
    return rows


def read_member(folder: Path, journal: Journal, key: str) -> TrainedMember:
    """What was trained there on the run's dataset; its latency is predicted by the run's predictor, or measured.

    Raises ValueError naming the file that is missing or no such result, and where the dataset is another one.
    """
    path = folder / "result.json"
    arch = find_arch(str(folder / "arch.yaml"))
    primary = task_of(arch).primary
    try:
        result = parse_json(path.read_text(encoding="utf-8"))
        value, dataset = float(result["valid"][primary]), result["dataset"]["name"]
        recipe, measured = dict(result["recipe"]), dict(result.get("measured", {}))
        test = float(result.get("test", {}).get(primary, math.nan)) if isinstance(result.get("test"), dict) else math.nan
        times = {device: (float(m["latency_ms"]), float(m["p95_ms"]), str(m["fingerprint"])) for device, m in measured.items()}
    except OSError as error:
        raise ValueError(f"{key}: {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{key}: {path}: not a result of nas train or nas scale") from None
    settings = journal.get("settings", {})
    ours = (settings.get("dataset") or {}).get("name", "no dataset")
    if dataset != ours:
        raise ValueError(f"{key}: {folder} was trained on {dataset}, the run searched on {ours}")
    counted = cost(arch)
    metrics = {primary: value, "params": counted.params, "macs": counted.macs, "memory_bytes": counted.peak_activation_bytes}
    same = {}
    for device in settings.get("device", {}):
        kept = journal.get(f"predictor/{device}") or {}
        if device in times and kept.get("fingerprint") in (None, times[device][2]):
            same[device] = times[device]
            metrics[f"{PREDICTED}/{device}"] = times[device][0]
        if kept.get("kind") == LayerwisePredictor.kind:  # a learned one knows the genomes of its space alone
            metrics[f"{PREDICTED}/{device}"] = LayerwisePredictor.from_dict(kept).predict_arch(arch)
    note = _differences(settings.get("recipe", {}), recipe)
    ms, p95 = ({device: pair[i] for device, pair in same.items()} for i in (0, 1))
    return TrainedMember(arch, metrics, ms, p95, test, note)


def _differences(searched: Mapping[str, JSON], trained: Mapping[str, JSON]) -> str:
    """`epochs 60, not 5`: the first keys in which a training's recipe is not the search's."""
    theirs, ours = flat(dict(searched)), flat(dict(trained))
    found = [f"{key} {ours[key]}, not {theirs[key]}" for key in theirs if key in ours and ours[key] != theirs[key]]
    return "; ".join(found[:2]) + (f"; {len(found) - 2} more" if len(found) > 2 else "")
