"""No setting is ignored in silence, hints are right, and a search resumes by the name of its folder alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import nas
from nas.cli import run
from nas.journal import Journal
from nas.recipe import Recipe
from nas.workflows.defaults import choices, compose
from nas.workflows.search.continued import continued

OWN = ["search", "plugins=[made_up]"]
FAST = ["evaluator=formula", "plugins=[made_up]", "device=[]", "objective=params", "controller=random", "executor=local"]


@pytest.mark.parametrize(
    "args, line",
    [
        (["search", "hydra.run.dir=x"], "hydra.run.dir: has no effect; nas names the folder of a run itself; run=<folder>"),
        (["search", "hydra.sweep.dir=x"], "hydra.sweep.dir: has no effect"),
        (["train", "arch=tiny", "hydra.sweep.subdir=x"], "hydra.sweep.subdir: has no effect"),
        (["search", "hydra.job_logging.root.level=DEBUG"], "hydra.job_logging.root.level: has no effect; the log"),
        (["report", "run=r", "out=x.html"], "out: names the page that compares runs=[..]"),
        (["report", "runs=[r]", "json=true", "out=x.html"], "out: names the page that compares runs=[..]"),
        (["report", "run=r", "json=true", "references=[t]"], "references: are drawn on the page"),
        (["search", "~recipe.momentum"], "~recipe.momentum: a setting cannot be left out; set it, as in recipe.momentum="),
        (["search", "~trials"], "~trials: a setting cannot be left out"),
        (["search", "+recipe.augment.cutout=2"], "+recipe.augment.cutout: there is such a key; drop the +, as in recipe.augment.cutout="),
        ([*OWN, "evaluator=formula", "evaluator.fial=1"], "evaluator.fial: no such key; did you mean evaluator.fail?"),
        ([*OWN, "dataset=stripes", "dataset.imgaes=9"], "dataset.imgaes: no such key; did you mean dataset.images?"),
        (["search", "device=[litert]", "device.litert.thraeds=1"], "device.litert.thraeds: no such key; did you mean device.litert.thr"),
        (["search", "space=twins.yaml"], "twins.yaml: stages[0].op: unknown 'own_conv'; did you mean 'conv'? (your own needs plugins="),
        (["cost", "arch=twins.yaml"], "twins.yaml: stages[0].op: unknown 'own_conv'; did you mean 'conv'? (your own needs plugins="),
        (["search", "controller=mine"], "controller=mine: no such controller (known: "),
        (["search", "space=tinny"], "space: unknown space or architecture 'tinny'; did you mean 'tiny'?"),
        (["search", "space=no/such.yaml"], "space: no/such.yaml: no such file"),
        (["search", "search.enqueue=[lenet]"], "search.enqueue: unknown space or architecture 'lenet'"),
        (["profile", "space=tinny"], "space: unknown space or architecture 'tinny'"),
        (["cost", "space=tinny"], "space: unknown space or architecture 'tinny'"),
        (["cost", "arch=lenet"], "arch: unknown space or architecture 'lenet'; did you mean 'lenet5'?"),
        (["train", "arch=lenet"], "arch: unknown space or architecture 'lenet'"),
        (["scale", "arch=lenet"], "arch: unknown space or architecture 'lenet'"),
        (["export", "arch=lenet"], "arch: unknown space or architecture 'lenet'"),
        (["export", "-m", "arch=lenet5", "calibrate=1,2", "out=x"], "out: all jobs of this sweep would write to x; name a place for each, "
                                                                    "as in 'out=x/${calibrate}'"),
        (["export", "-m", "weights=w.npz", "preprocess=true,false"], "out: all jobs of this sweep would write one bundle; name a folder"),
        (["profile", "-m", "seed=0,1", "out=p.json"], "out: all jobs of this sweep would write to p.json; name a place for each, as in "
                                                      "'out=p-${seed}.json'"),
        (["cost", "-m", "arch=lenet5", "resolution=8,16", "plot=x.svg"], "plot: all jobs of this sweep would write to x.svg"),
        (["search", "plugins=[not_python]"], "plugins: cannot import 'not_python': SyntaxError: invalid syntax (not_python.py, line 2)"),
        (["search", "plugins=[raises]"], "plugins: cannot import 'raises': TypeError: "),
        (["search", "plugins=[faulty]", "dataset=faulty"], "plugins: ZeroDivisionError: division by zero (faulty.py, line 8)"),
        (["search", "plugins=[faulty]", "dataset=faulty", "dataset.images=2"], "dataset: two images (faulty.py, line 9)"),
    ],
)  # fmt: skip
def test_the_line_that_a_command_ends_in(args: list[str], line: str, here: Path, capsys: pytest.CaptureFixture[str],
                                         monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.syspath_prepend(str(here))
    monkeypatch.delitem(sys.modules, "faulty", raising=False)
    (here / "twins.yaml").write_text(
        "name: twins\nresolution: 8\nstem: {op: conv, width: 8}\nstages: [{op: own_conv, width: 4}]\nhead: {op: classifier}\n"
    )
    (here / "not_python.py").write_text("x = 1\ny = 2 +\n")
    (here / "raises.py").write_text("x = 1 + 'a'\n")
    (here / "faulty.py").write_text(
        "from dataclasses import dataclass\nfrom nas.data import DatasetSettings\n\n@dataclass(frozen=True)\n"
        "class Faulty(DatasetSettings):\n    images: int = 0\n    def load(self):\n        self.images / self.images\n"
        "        raise ValueError('two images')\n\nDATASETS = {'faulty': Faulty}\n"
    )
    assert run(args) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"nas: {line}")
    assert said.count("\n") == 1
    assert not (here / "runs").exists()


def test_a_place_for_each_job_is_taken(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "-m", "arch=lenet5", "calibrate=1,2", "formats=[yaml]", "out=x/${calibrate}"]) == 0, capsys.readouterr().err
    assert sorted(path.parent.name for path in here.glob("x/*/*.yaml")) == ["1", "2"]


@pytest.mark.parametrize("fail, best", [(0, True), (1, False)])
def test_the_best_is_named_where_there_is_one(here: Path, capsys: pytest.CaptureFixture[str], fail: int, best: bool) -> None:
    assert run(["search", *FAST, "trials=1", "run=r", f"evaluator.fail={fail}"]) == 0, capsys.readouterr().err
    assert ("best.yaml" in capsys.readouterr().out) == best == Path("r/best.yaml").exists()


def test_a_missing_backend_is_one_line_before_the_first_trial(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a trial after the other that ends as `error`; with the backend the same command begins with these trials."""
    line = "JAX_PLATFORMS=cuda: no such backend here: it is not installed"
    monkeypatch.setattr("nas.runtime.worker.platform_fault", lambda: line)
    args = ["search", "device=[]", "objective=params", "executor=local", "trials=2", "run=r", "dataset.train_size=60"]
    assert run(args) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1] == f"nas: {line}"
    with Journal.open(Path("r/journal.sqlite"), read_only=True) as journal:
        assert [trial.outcome for trial in journal.trials()] == [None] * len(journal.trials())
        assert journal.evaluations() == []


def test_a_name_less_is_a_choice(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", *FAST, "trials=2", "run=r", "~objective.metrics.accuracy", "objective.metrics.margin=max"]) in (0, 2)
    assert "cannot be left out" not in capsys.readouterr().err


def test_python_ignores_no_argument_of_report_either() -> None:
    for runs in ({"references": ["t"]}, {"scaled": ["t"]}):
        with pytest.raises(ValueError, match=next(iter(runs))):
            nas.report(["a", "b"], **runs)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="out"):
        nas.report("a", out="x.html")


@pytest.mark.parametrize("name", choices("recipe"))
@pytest.mark.parametrize("epochs", [1, 2, 7])
def test_a_recipe_takes_any_number_of_epochs(name: str, epochs: int) -> None:
    settings = compose("train", {"arch": "tiny", "recipe": {"name": name, "epochs": epochs}})["recipe"]
    recipe = Recipe(**{key: value for key, value in settings.items() if key not in ("augment", "name")})
    assert 0 <= recipe.warmup <= epochs / 2


@pytest.mark.parametrize("epochs, set_, warmup", [(60, None, 3), (350, None, 5), (20, None, 1), (1, None, 0.05), (9, 2, 2)])
def test_warmup_follows_the_epochs_unless_it_is_set(epochs: int, set_: float | None, warmup: float) -> None:
    assert Recipe(epochs=epochs, warmup_epochs=set_).warmup == warmup


def test_an_error_in_a_plugin_names_its_line_in_the_journal_too(here: Path, capsys: pytest.CaptureFixture[str],
                                                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.syspath_prepend(str(here))
    (here / "scores.py").write_text(
        "from dataclasses import dataclass\nimport made_up\n\n@dataclass(frozen=True)\nclass Scores(made_up.Formula):\n"
        "    def make(self, context):\n        return self.score\n    def score(self, jobs, report):\n        return jobs[0].number / 0\n\n"
        "EVALUATORS = {'scores': Scores}\n"
    )
    args = ["plugins=[scores]", "evaluator=scores", "device=[]", "objective=params", "controller=random", "executor=local"]
    assert run(["search", *args, "trials=2", "run=r"]) == 0, capsys.readouterr().err
    assert {trial["error"] for trial in nas.load_run("r").trials} == {"ZeroDivisionError: division by zero (scores.py, line 9)"}


NONE = {"run": "old", "dataset": None, "controller": {"name": "random"}}
SMALL = (
    "name: small\nresolution: 8\nstem: {op: conv, width: 8}\n"
    "stages: [{op: conv, width: {one_of: [8, 9, 10, 11, 12, 13, 14, 15]}, kernel: {one_of: [1, 3, 5]}}]\nhead: {op: classifier}\n"
)


def test_a_search_goes_on_by_its_folder_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "small.yaml").write_text(SMALL)
    began = [*FAST, "space=small.yaml", "evaluator.fail=0.2", "seed=3", "search.in_flight=2", "track=[]"]
    assert run(["search", *began, "trials=3", "run=my run"]) == 0, capsys.readouterr().err
    for again, code, said in (
        ([], 0, "this run is finished, 3 trials"),
        (["evaluator.fail=0.2", "seed=3", "search.retries=1", "trials=4"], 0, "[4/4]"),
        (["seed=4"], 2, "nas: seed: the run in"),
        (["evaluator.fail=0.3", "trials=6"], 2, "nas: evaluator.fail: the run in"),
    ):
        capsys.readouterr()
        assert run(["search", "run=my run", *again]) == code, again
        captured = capsys.readouterr()
        assert said in captured.out + captured.err
    assert len(nas.load_run("my run").trials) >= 4


@pytest.mark.parametrize(
    "given, key, value",
    [
        ([], "recipe", {"epochs": 2, "lr": 0.1}),
        (["recipe.lr"], "recipe", {"epochs": 2, "lr": 0.5}),
        (["recipe"], "recipe", {"epochs": 9, "lr": 0.5}),
        (["seed"], "seed", 0),
        ([], "seed", 7),
        ([], "trials", 40),
        (["trials"], "trials", 24),
        ([], "device", {"litert": {"name": "litert"}}),
        (["device"], "device", {"host": {"name": "host"}}),
        (["device.litert"], "device", {}),
        ([], "run", "r"),
        ([], "dataset", {"name": "digits"}),
    ],
)
def test_what_is_not_given_is_the_runs(given: list[str], key: str, value: object, memory_path: Path) -> None:
    kept = {"recipe": {"epochs": 2, "lr": 0.1}, "seed": 7, "trials": 5, "device": {"litert": {"name": "litert"}}}
    composed = {"recipe": {"epochs": 9, "lr": 0.5}, "seed": 0, "trials": 24, "device": {"host": {"name": "host"}}, "run": "r"}
    objects = {"controller": {"name": "random"}, "evaluator": {"name": "scratch"}, "dataset": {"name": "digits"}}
    with Journal.create(memory_path / "journal.sqlite", {"settings": {**kept, **NONE}}) as journal:
        journal.add_event("start", trials=40)
    assert continued(memory_path, {**composed, **objects}, given)[key] == value


def test_a_run_with_objects_of_a_program_is_resumed_by_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nas.search("tiny", evaluate=lambda arch: {"accuracy": 0.5}, trials=2, run="r")
    assert run(["search", "run=r", "trials=3"]) == 2
    assert capsys.readouterr().err.startswith("nas: evaluator: the run in ")
