"""Sweeps: a job is named by what it varies, a longer sweep resumes a shorter one, and errors name the job."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.cli import run
from nas.cli.overrides import job_name, swept
from nas.workflows.run_folder import run_folder
from nas.workflows.search.continued import recorded

FAST = ["evaluator=formula", "plugins=[made_up]", "device=[]", "objective=params", "executor=local", "track=[]", "trials=1"]


def folders(root: Path) -> list[str]:
    return sorted(str(path.parent.relative_to(root)) for path in root.rglob("journal.sqlite"))


def test_a_longer_sweep_resumes_the_shorter_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", *FAST, "-m", "controller=local,random", "seed=5,-1", "run=t"]) == 2
    assert capsys.readouterr().err.startswith("nas: controller=local,seed=-1: seed: ")
    assert run(["search", *FAST, "-m", "controller=nsga2,random,local", "seed=choice(5)", "run=t"]) == 0
    assert capsys.readouterr().out.count("this run is finished") == 2
    names = folders(here / "t")
    assert names == [f"controller={name},seed=5" for name in ("local", "nsga2", "random")]
    assert all(recorded(here / "t" / name)["controller"]["name"] in name for name in names)


@pytest.mark.parametrize("where, found", [("run=x/${seed}/of", ["0/of", "1/of"]), ("run=x/a,x/b", ["a", "b"])])
def test_a_folder_for_each_job_is_taken_as_it_is(where: str, found: list[str], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seeds = ["seed=0,1"] if "$" in where else []
    assert run(["search", *FAST, "controller=random", "-m", *seeds, where]) == 0, capsys.readouterr().err
    assert folders(here / "x") == found


@pytest.mark.parametrize(
    "args, keys, job, name",
    [
        (["seed=0,1", "controller=a,b"], ("controller", "seed"), ["seed=0", "controller=b", "trials=3"], "controller=b,seed=0"),
        (["seed=range(3)", "trials=4"], ("seed",), ["seed=2", "trials=4"], "seed=2"),
        (["seed=0", "runs=[a,b]", "-m"], (), ["seed=0"], ""),
        (["device=[host],[litert]"], ("device",), ["device=[litert]"], "device=[litert]"),
        (["+a.b=choice(1,2)", "broken=[1"], ("a.b",), ["+a.b=2"], "a.b=2"),
    ],
)
def test_what_a_sweep_varies(args: list[str], keys: tuple[str, ...], job: list[str], name: str) -> None:
    assert swept(args) == keys
    assert job_name(job, keys) == name


def test_folders_of_jobs_stay_below_the_sweep_and_differ() -> None:
    jobs = ["space=a/b.yaml", "space=a_b.yaml", "space=../../b", "x=" + "9" * 200, "x=" + "9" * 201]
    paths = [run_folder("s", (), job) for job in jobs]
    assert len(set(paths)) == len(jobs)
    assert all(path.parent == Path("s") and len(path.name) <= 100 for path in paths)
    assert run_folder("s", (), "controller=random,seed=0") == Path("s/controller=random,seed=0")
