"""The folder of `nas train`: what a finished training leaves there, and whether a command belongs to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from nas.arch import Arch
from nas.core.jsonio import parse_json
from nas.core.yamlio import dump_yaml, read_yaml, write_text
from nas.nn.weights import Variables, save_weights
from nas.records import JSON
from nas.report.trajectory import curves_svg
from nas.workflows.run_folder import changed_data, flat

RESULT = "result.json"


def leave(folder: Path, arch: Arch, variables: Variables, record: Mapping[str, JSON]) -> None:
    """Writes weights.npz, arch.yaml, curve.svg and, last, result.json; each by rename."""
    save_weights(folder / "weights.npz", variables)
    write_text(folder / "arch.yaml", dump_yaml(arch.to_dict()))
    write_text(folder / "curve.svg", _curves(record["curve"]))
    write_text(folder / RESULT, json.dumps(record, indent=1) + "\n")


def summary(record: Mapping[str, JSON]) -> str:
    primary = next(iter(record["valid"]))
    parts = [f"validation {primary} {record['valid'][primary]:.4f}, test {primary} {record['test'][primary]:.4f}"]
    if record.get("agreement") is not None:
        parts.append(f"{record['agreement']:.1%} of the test images as the teacher has them")
    if record["recipe"].get("patience"):
        parts.append(f"weights of epoch {record['epoch']} of {len(record['curve'])}")
    return ", ".join([*parts, f"{record['train_s']:.0f} s of training"])


def finished(folder: Path, settings: Mapping[str, JSON]) -> dict[str, JSON] | None:
    """The record of this very training, where it is done there. Raises ValueError where the folder holds something else."""
    if (folder / "journal.sqlite").exists():
        raise ValueError(f"run: {folder} holds a journal.sqlite already; choose another folder with run=")
    if not (folder / RESULT).exists():
        return None
    try:
        record = parse_json((folder / RESULT).read_text(encoding="utf-8"))
        arch = read_yaml(folder / "arch.yaml")
        record.setdefault("normalization", None)  # what older ones do not say
        same = {"arch": arch, **{key: record[key] for key in settings if key != "arch"}}
        summary(record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"run: {folder} holds a {RESULT} that cannot be read: {error}") from None
    theirs, ours = flat(same), flat(json.loads(json.dumps(settings)))
    differing = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
    if differing == ["recipe.epochs"] and ours["recipe.epochs"] > theirs["recipe.epochs"]:
        return None
    if differing == ["digest"]:
        raise ValueError(f"run: {changed_data(folder)}")
    differing = [key for key in differing if key != "digest"]  # it follows from the settings of the dataset
    if differing:
        raise ValueError(f"run: {folder} holds a training with another {differing[0]}; choose another folder with run=")
    return record


def _curves(curve: Sequence[Mapping[str, float]]) -> str:
    """Training loss and, where it was validated on the way, validation loss over the epochs."""
    lines = [(word, [(entry["epoch"], entry[key]) for entry in curve if key in entry])
             for word, key in (("training loss", "train_loss"), ("validation loss", "loss"))]  # fmt: skip
    return curves_svg([(word, line) for word, line in lines if line], "epoch", "loss")
