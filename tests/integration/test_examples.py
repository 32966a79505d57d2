"""The scripts of examples/ run at toy size; those that take longer are in tests/nightly/test_long_examples.py."""

import ast
import runpy
from pathlib import Path

import numpy as np
import pytest

from examples import EXAMPLES, run_example
from nas import load_run


def test_the_space_of_own_space() -> None:
    space = runpy.run_path(str(EXAMPLES / "own_space.py"))["SPACE"]
    rng = np.random.default_rng(0)
    assert len({space.decode(space.sample(rng)) for _ in range(10)}) > 5


def test_own_evaluator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_example("own_evaluator", tmp_path, monkeypatch)
    result = load_run(tmp_path / "runs" / "own-evaluator")
    assert [trial["outcome"] for trial in result.trials] == ["ok", "ok"]
    assert all(0 <= member.metrics["noisy_accuracy"] <= 1 for member in result.front)


def test_style_transfer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = np.asarray(run_example("style_transfer", tmp_path, monkeypatch)["losses"])
    assert (losses[-1] < 0.8 * losses[0]).all(), "content, style"
    assert (tmp_path / "styled.png").is_file()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_states_its_cost_and_what_to_expect(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    text = ast.get_docstring(ast.parse(source)) or source.replace("\n# ", "\n")
    assert "\nCost: " in text
    assert "\nExpect: " in text
    assert "--toy" in text
    assert len(source.splitlines()) < 100
