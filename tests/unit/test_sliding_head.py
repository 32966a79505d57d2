"""The head `mlp` with a window: dense layers as convolutions that slide over larger images (OverFeat, arXiv:1312.6229, section 3.5)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from nas.arch import arch_from_dict
from nas.arch.blocks import lower
from nas.convert import starting_weights
from nas.cost import cost
from nas.nn.network import apply, init
from nas.nn.weights import save_weights

NETWORK: dict[str, Any] = {
    "name": "windows", "resolution": 12, "channels": 1, "classes": 3, "stem": {"op": "conv", "kernel": 3, "width": 4, "padding": "valid"},
    "stages": [{"op": "conv", "kernel": 2, "width": 4, "stride": 2, "padding": "valid"}],
}  # fmt: skip


def network(side: int, **head: Any) -> Any:
    arch = arch_from_dict({**NETWORK, "head": {"op": "mlp", **head}})
    return lower(replace(arch, resolution=side))


def answer(graph: Any, variables: Any, images: np.ndarray) -> np.ndarray:
    return np.asarray(apply(graph, variables["params"], variables["stats"], jnp.asarray(images), train=False)[0])


@pytest.mark.parametrize("widths", [[], [8], [8, 6]])
def test_a_sliding_network_averages_the_answers_for_its_windows(widths: list[int], tmp_path: Path) -> None:
    dense, at = network(12, widths=widths), tmp_path / "weights.npz"
    trained, images = init(dense, 0), np.random.default_rng(0).random((2, 16, 16, 1), np.float32)
    save_weights(at, trained)
    own = {"window": 5, "widths": widths}
    same = starting_weights(str(at), network(12, **own), 0)
    assert same.fresh == ()
    crops = {(i, j): images[:, i : i + 12, j : j + 12] for i in (0, 2, 4) for j in (0, 2, 4)}
    answers = {at: answer(dense, trained, crop) for at, crop in crops.items()}
    found = answer(network(12, **own), same.variables, crops[0, 0])
    np.testing.assert_allclose(found, answers[0, 0], rtol=1e-5, atol=1e-5)
    slid = answer(network(16, **own), same.variables, images)
    np.testing.assert_allclose(slid, np.mean([*answers.values()], axis=0), rtol=1e-5, atol=1e-5)


def test_a_window_costs_as_many_parameters_and_more_products() -> None:
    dense, small, large = (
        cost(arch_from_dict({**NETWORK, "resolution": side, "head": {"op": "mlp", "widths": [8], **head}}))
        for side, head in ((12, {}), (12, {"window": 5}), (16, {"window": 5}))
    )
    assert dense.params == small.params == large.params
    assert dense.macs == small.macs < large.macs


def test_a_window_larger_than_the_map_is_named() -> None:
    with pytest.raises(ValueError, match=r"dense1|window"):
        network(8, window=5)
