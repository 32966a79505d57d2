"""Smaller kernels of larger ones, by matrices that are trained with the weights."""

from pathlib import Path

import jax
import numpy as np
import pytest

from nas.arch.blocks import lower
from nas.nn.network import init
from nas.recipe import Recipe
from nas.space import Genome, Space
from nas.supernet.child import child_of
from nas.supernet.file import load_supernet, record_of_supernet, save_supernet
from nas.supernet.kernels import identity, materialized, matrix_shapes
from nas.supernet.programs import Programs
from nas.supernet.scoring import Scoring
from nas.supernet.strategies import Candidates, Shrinking, Strategy
from nas.supernet.training import Supernet
from nas.supernet.weights import SharedWeights
from nas.tasks import CLASSIFICATION
from nas.train import evaluate
from nas.train.loop import Fit, silent
from small_supernet import ELASTIC, Only, start_of
from small_training import dataset

DATA = dataset()
STAGE = {"op": "mbconv", "width": 4, "stride": 2, "kernel": {"one_of": [3, 5, 7]}, "expand": {"one_of": [1, 2]}}
SPACE = Space.from_dict({**ELASTIC, "stages": [STAGE]}, "kernels").fit(6, 1, 3)
AMONG, PROGRAMS = Candidates(SPACE), Programs()
RECIPE = Recipe(epochs=1, batch=48, lr=0.05, norm_warmup=False)
SCORING = Scoring(calibration_images=64, batch=32)
LARGE = AMONG.largest


def with_kernel(side: int) -> Genome:
    """The largest network with another kernel."""
    index = next(i for i, gene in enumerate(SPACE.genes) if gene.name.endswith("kernel"))
    return tuple(SPACE.genes[index].options.index(side) if i == index else option for i, option in enumerate(LARGE))


SMALL = with_kernel(3)


def net(masked: bool = False) -> Supernet:
    return Supernet(SPACE, DATA, RECIPE, programs=PROGRAMS, masked=masked, matrices=True)


def trained(of: Supernet, strategy: Strategy) -> Fit:
    return of.fit(strategy, 0, report=silent, checkpoint=None, scoring=SCORING, start=start_of(of.paths, AMONG))


def weights_of(of: Supernet, fit: Fit) -> SharedWeights:
    return SharedWeights.of(of.paths, {"params": fit.params, "stats": {}})


def matrices(fit: Fit) -> dict[str, np.ndarray]:
    """By the number of the kernel that each gives, of the layer with an expansion."""
    return {name: array for node, arrays in fit.params.items() for name, array in arrays.items()
            if name.startswith("matrix") and (arrays["kernel"].shape[3] > 4)}  # fmt: skip


def test_a_kernel_is_the_center_of_the_next_larger_one_times_its_matrix_from_size_to_size() -> None:
    rng = np.random.default_rng(0)
    arrays = {"kernel": rng.normal(size=(7, 7, 1, 3)), "bias": np.zeros(3)}
    arrays |= {name: rng.normal(size=shape) for name, shape in matrix_shapes({3, 5, 7}).items()}
    five = np.einsum("ij,jc->ic", arrays["matrix5"], arrays["kernel"][1:6, 1:6, 0].reshape(25, 3)).reshape(5, 5, 1, 3)
    three = np.einsum("ij,jc->ic", arrays["matrix3"], five[1:4, 1:4, 0].reshape(9, 3)).reshape(3, 3, 1, 3)
    for side, expected in ((7, arrays["kernel"]), (5, five), (3, three)):
        found = materialized(arrays, side)
        assert found.keys() == {"kernel", "bias"}
        np.testing.assert_allclose(found["kernel"], expected, rtol=1e-12)
    plain = {**arrays, **{name: identity(shape) for name, shape in matrix_shapes({3, 5, 7}).items()}}
    np.testing.assert_array_equal(materialized(plain, 3)["kernel"], arrays["kernel"][2:5, 2:5])


def test_only_the_matrices_that_a_candidate_takes_are_trained() -> None:
    moved = {}
    for side in (7, 5, 3):
        found = matrices(trained(net(), Only((with_kernel(side),))))
        assert found.keys() == {"matrix5", "matrix3"}
        moved[side] = [name for name, array in found.items() if not np.array_equal(array, identity(array.shape))]
    assert moved == {7: [], 5: ["matrix5"], 3: ["matrix5", "matrix3"]}


@pytest.mark.parametrize("masked", [False, True])
def test_a_candidate_is_scored_as_its_own_network_with_the_kernels_that_matrices_make(masked: bool) -> None:
    one = net(masked)
    fit = trained(one, Only((SMALL, LARGE)))
    shared = weights_of(one, fit)
    scorer, slots = one.scorer(SCORING), jax.device_put(dict(shared.slots))
    for genome in (SMALL, LARGE, with_kernel(5)):
        found, own = scorer.metrics(slots, genome).compute(), shared.params_of(genome)
        graph = lower(SPACE.decode(genome))
        assert jax.tree.map(np.shape, own) == jax.tree.map(np.shape, dict(init(graph, 0)["params"]))
        variables = {"params": own, "stats": scorer.stats_of(slots, genome)}
        alone = evaluate(graph, variables, DATA.valid, DATA, 32, "float32", task=CLASSIFICATION)
        assert found["loss"] == pytest.approx(alone["loss"], rel=1e-4)


def test_a_file_knows_whether_its_weights_have_matrices(tmp_path: Path) -> None:
    for learned in (True, False):
        strategy, file = {"name": "shrinking", "matrices": learned}, tmp_path / f"{learned}.npz"
        one = Supernet(SPACE, DATA, RECIPE, programs=PROGRAMS, matrices=Shrinking(matrices=learned).learns_matrices)
        fit = trained(one, Only((SMALL,)))
        record = record_of_supernet(SPACE, DATA, RECIPE, strategy, 0)
        save_supernet(file, fit.params, {**record, "valid": fit.metrics, "train_s": 1.0, "curve": fit.curve})
        assert load_supernet(file).matrices == learned
        kernel = child_of(file, SPACE.decode(SMALL), DATA)["params"]["stages.0.0/depthwise.conv"]["kernel"]
        center = np.asarray(_full(fit))[2:5, 2:5, :, : kernel.shape[3]]
        assert np.array_equal(kernel, center) != learned


def _full(fit: Fit) -> np.ndarray:
    return max(
        (arrays["kernel"] for arrays in fit.params.values() if arrays.get("kernel", np.zeros(1)).shape[:2] == (7, 7)),
        key=np.size,
    )


def test_a_network_of_smaller_kernels_has_no_place_to_start_from() -> None:
    one = net()
    given = start_of(one.paths, AMONG)
    jax.tree.map(
        np.testing.assert_array_equal, given.params_of(LARGE)["stem/conv"], given.params_of(SMALL)["stem/conv"]
    )
    with pytest.raises(ValueError, match="kernel has the shape"):
        given.with_network(SMALL, given.params_of(SMALL))


def test_the_largest_network_is_trained_as_without_matrices() -> None:
    plain = Supernet(SPACE, DATA, RECIPE, programs=PROGRAMS)
    losses = [[entry["train_loss"] for entry in trained(one, Only((LARGE,))).curve] for one in (net(), plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
