"""`teacher=`: a trained network to learn from, wherever it lies: a bundle, a training's folder, a search, or a known network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from nas.arch import Arch, arch_from_dict
from nas.arch.files import load_arch
from nas.arch.find import find_arch
from nas.data import Dataset
from nas.data.published import as_published
from nas.journal import Journal
from nas.report import summarize
from nas.report.files import MARKS
from nas.tasks import fit_arch, task_of
from nas.workflows.export import load_bundle
from nas.workflows.export.loading import INDEX
from nas.workflows.export.sources import whole_weights
from nas.workflows.prepared import prepared
from nas.workflows.recorded import recorded

if TYPE_CHECKING:
    from nas.train import Teacher

EXPECTED = "a bundle, a folder of nas train or nas search, a file of its front/, or a network with teacher_weights="


def find_teacher(source: str, weights: str | None, dataset: Dataset) -> Teacher:
    """What `teacher=` and `teacher_weights=` name. Raises ValueError, one line, where it is not there or not for the dataset.

    Images are normalized as in the teacher's training where it is recorded, as in bundles and trainings, or known of timm and
    torchvision, else as the dataset's.
    """
    from nas.train import Teacher

    path = Path(source).expanduser()
    try:
        if weights is None and (path / INDEX).is_file():
            bundle = load_bundle(path)
            known = bundle.trained
            teacher = Teacher(bundle.arch, known.variables, known.mean, known.std, known.classes)
        else:
            arch, file = (_fitted(as_published(find_arch(source), weights)[0], dataset), weights) if weights else _kept(path)
            data = recorded(file)
            known = data or prepared(dataset, file)[0]
            teacher = Teacher(arch, {}, known.mean, known.std, data.classes if data else None)
            teacher.check(dataset)
            teacher = Teacher(arch, whole_weights(file, arch), teacher.mean, teacher.std, teacher.classes)
        teacher.check(dataset)
    except ValueError as error:
        raise ValueError(f"teacher: {str(error).removeprefix('teacher: ')}") from None
    return teacher


def _fitted(arch: Arch, dataset: Dataset) -> Arch:
    return fit_arch(task_of(arch), arch, dataset)


def _kept(path: Path) -> tuple[Arch, str]:
    """(architecture, file of its weights) of a folder, or of a file that a search exported."""
    if (path / "weights.npz").is_file():
        return load_arch(str(path / "arch.yaml")), str(path / "weights.npz")
    if (path / "journal.sqlite").is_file():
        return _most_accurate(path)
    if path.is_file() and path.suffix == ".npz":
        return load_arch(str(path.with_name("arch.yaml"))), str(path)
    if path.is_file() and (found := re.match(rf"{MARKS[0]}(\d+) ", path.read_text(encoding="utf-8", errors="replace"))):
        run = next((folder for folder in path.parents[:2] if (folder / "journal.sqlite").is_file()), path.parent)
        return load_arch(str(path)), str(_weights(run, int(found[1])))
    raise ValueError(f"{path}: no trained network; expected {EXPECTED}")


def _most_accurate(run: Path) -> tuple[Arch, str]:
    with Journal.open(run / "journal.sqlite", read_only=True) as journal:
        front = [row for row in summarize(journal).front if row.arch is not None and "accuracy" in row.metrics]
    if not front:
        raise ValueError(f"{run}: its front is empty")
    best = max(front, key=lambda row: row.metrics["accuracy"])
    return arch_from_dict(best.arch, str(run)), str(_weights(run, best.number))


def _weights(run: Path, number: int) -> Path:
    path = run / "checkpoints" / f"trial-{number:06d}.npz"
    if not path.is_file():
        raise ValueError(f"{path}: no such file: the weights of trial {number} were not kept; train it with nas train")
    return path
