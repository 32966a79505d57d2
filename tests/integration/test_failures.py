"""What goes wrong in `nas export`, `predict`, `adapt` and `scale` is one line and exit code 2, and nothing half-written stays."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapt_maker import command, make
from nas.cli import run
from nas.core.yamlio import dump_yaml
from nas.journal import Journal
from nas.nn import weights
from nas.nn.weights import save_weights
from nas.workflows.export import make_bundle
from small_bundle import ARCH, DATA, WEIGHTS


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def one_line(capsys: pytest.CaptureFixture[str], args: list[str]) -> str:
    assert run(args) == 2, capsys.readouterr().out
    said = capsys.readouterr().err.strip()
    assert said.startswith("nas: ")
    assert "\n" not in said, said
    assert "internal error" not in said
    return said


def left_over(folder: Path) -> list[str]:
    """Temporary files, wherever they stand."""
    return [str(path) for path in folder.rglob("*") if path.name.startswith(".") or path.name.endswith((".tmp", ".new"))]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    make_bundle(folder, ARCH, WEIGHTS, DATA, [])
    return folder


@pytest.fixture
def own(bundle: Path, here: Path) -> Path:
    """A copy of the bundle to spoil, and an image that it takes."""
    shutil.copytree(bundle, "b")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("x.png")
    return Path("b")


def fewer(folder: Path) -> None:
    index = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**index, "classes": index["classes"][1:]}))


def renamed(folder: Path) -> None:
    index = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**index, "sha256": {}}))
    (folder / "weights.safetensors").write_bytes(b"\x08" + 7 * b"\0" + b"{}      ")


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda folder: flip(folder / "weights.safetensors"), "weights.safetensors: changed since it was exported"),
        (lambda folder: flip(folder / "README.md"), "README.md: changed since it was exported"),
        (lambda folder: (folder / "weights.safetensors").unlink(), "weights.safetensors: No such file"),
        (lambda folder: (folder / "bundle.json").write_bytes(b"\xff\xfe{"), "bundle.json: no index of a bundle"),
        (renamed, "weights.safetensors: "),
        (fewer, "bundle.json: 2 classes and 1 channels do not fit the network in arch.yaml"),
        (lambda folder: Path("x.png").write_bytes(b"no image"), "x.png: corrupt image: not PNG, JPEG"),
        (lambda folder: Path("x.png").unlink(), "x.png: no such file or folder"),
        (shutil.rmtree, "bundle.json: No such file or directory; expected a folder of nas export"),
    ],
)
def test_predict(own: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], None], words: str) -> None:
    spoil(own)
    assert words in one_line(capsys, ["predict", "weights=b", "image=x.png"])


@pytest.fixture
def trained(here: Path) -> Path:
    """A folder as `nas train` leaves it, and the images that it was trained on."""
    rng = np.random.default_rng(0)
    np.savez("images.npz", x_train=rng.integers(0, 256, (40, 8, 8, 1), np.uint8), y_train=np.arange(40) % 3)
    Path("net").mkdir()
    Path("net/arch.yaml").write_text(dump_yaml(ARCH.to_dict()))
    save_weights(Path("net/weights.npz"), WEIGHTS)
    return here


EXPORT = ["export", "weights=net/weights.npz", "dataset=npz", "dataset.path=images.npz", "formats=[source]"]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What a disk that fills up does to whoever writes: the file stops in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_export_onto_a_full_disk_leaves_nothing(trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_CACHE", "off")
    before = sorted(str(path) for path in trained.rglob("*"))
    with files_of_at_most(2000):
        said = one_line(capsys, EXPORT)
    assert f"out: {Path('net')}" in said
    assert os.strerror(errno.EFBIG) in said
    assert sorted(str(path) for path in trained.rglob("*")) == before
    assert run(EXPORT) == 0, "with room again it works"


@pytest.mark.parametrize(
    "args, words",
    [
        (["out=net/weights.npz/bundle"], "out: "),
        (["out=net"], "out: net exists already"),
        (["weights=other.npz", "arch=net/arch.yaml"], "weights: "),
        (["dataset.path=net/weights.npz"], "net/weights.npz"),
        (["formats=[onxn]"], "formats"),
        (["calibrate=0"], "calibrate: expected 1 to"),
    ],
)
def test_export(trained: Path, capsys: pytest.CaptureFixture[str], args: list[str], words: str) -> None:
    save_weights(Path("other.npz"), {"params": {"stem/other": {"kernel": np.zeros((1, 1))}}, "stats": {}})
    before = sorted(str(path) for path in trained.rglob("*"))
    given = dict(arg.split("=", 1) for arg in [*EXPORT[1:], *args])
    assert words in one_line(capsys, ["export", *(f"{key}={value}" for key, value in given.items())])
    assert sorted(str(path) for path in trained.rglob("*")) == before


def no_room(path: Path) -> Callable[..., None]:
    """Saving fails where `path` is in the name of the file."""
    real = np.savez

    def save(file, *args, **arrays):  # type: ignore[no-untyped-def]
        if str(path) in file.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file, *args, **arrays)

    return save


@pytest.mark.parametrize("where", ["seed.npz", "trial-000000", "trial-000002"])
def test_adapt_on_a_full_disk_blames_no_proposal(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    make(here)
    with monkeypatch.context() as patch:
        patch.setattr(weights.np, "savez", no_room(Path(where)))
        assert os.strerror(errno.ENOSPC) in one_line(capsys, command("small", "executor=local"))
    assert [name for name in left_over(here / "small") if "journal" not in name] == []
    assert not (here / "small" / "weights.npz").exists()
    with Journal.open(here / "small" / "journal.sqlite", read_only=True) as journal:
        assert all(trial.ok for trial in journal.trials() if trial.done), "no failure is on record, so that it is tried again"


@pytest.mark.parametrize(
    "args, words",
    [
        (["adapt", "weights=net/weights.npz", "run=images.npz/x"], "run: cannot make the folder"),
        (["adapt", "weights=net/weights.npz", "run=net"], "run: the folder"),
        (["adapt", "weights=none.npz", "arch=net/arch.yaml"], "none.npz"),
        (["scale", "arch=net/arch.yaml", "train=true", "run=images.npz/x"], "run: cannot make the folder"),
        (["scale", "arch=net/arch.yaml", "run=images.npz/x"], "run: "),
        (["scale", "arch=images.npz", "run=f"], "images.npz"),
        (["scale", "arch=net/arch.yaml", "phi=[40]"], "phi=40: "),
    ],
)
def test_folders_and_files_that_will_not_do(trained: Path, capsys: pytest.CaptureFixture[str], args: list[str], words: str) -> None:
    before = sorted(str(path) for path in trained.rglob("*"))
    assert words in one_line(capsys, [*args, "executor=local", "dataset=npz", "dataset.path=images.npz"])
    assert sorted(str(path) for path in trained.rglob("*")) == before


def test_scale_on_a_full_disk_resumes_with_room(trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    args = ["scale", "arch=net/arch.yaml", "phi=[0]", "train=true", "executor=local", "dataset=npz", "dataset.path=images.npz",
            "recipe.epochs=1", "recipe.warmup_epochs=0", "recipe.batch=8", "run=f"]  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(weights.np, "savez", no_room(Path("trial-000000")))
        assert os.strerror(errno.ENOSPC) in one_line(capsys, args)
    assert not list((trained / "f").glob("*/result.json"))
    assert run(args) == 0, capsys.readouterr().err
    assert (trained / "f" / "net" / "weights.npz").exists()
