"""`evaluator=supernet`: its settings, and what a search prepares by them. What a worker does is in `nas.evaluators.supernet_worker`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from nas.core.settings import build
from nas.evaluators.base import Capabilities, Context, Evaluator, EvaluatorSettings
from nas.nn.weights import SUPERNET, absolute_source
from nas.recipe import Recipe
from nas.records import JSON, Job
from nas.space import Genome, Space

if TYPE_CHECKING:
    from nas.supernet.scoring import Scoring
    from nas.supernet.strategies import Strategy
    from nas.supernet.training import Supernet



@dataclass(frozen=True)
class SupernetSettings(EvaluatorSettings):
    """`evaluator=supernet`: one training for all candidates, then seconds for each.

    Args:
        weights: Shared weights that are trained already: the folder of `nas supernet`, or of a search that trained them, or the
            file; None: the search trains them before its first trial.
        start: Weights of a trained network that the largest one starts from, as `weights=` of `nas train` has them; None: initial
            values.
        strategy: Which candidates a training step runs: `name` and settings of `nas.supernet.strategies`.
        cost: The file of a latency predictor for the space, as `nas profile` or a search leaves it: what `rl` weighs candidates by, in
            milliseconds; None: their multiply-adds.
        calibration_images: Training images from which the statistics of a candidate's batch norms are computed anew.
        validation_images: Of the validation split, that a candidate is scored on; None: all.
        batch: Images at a time, of both.

    Example:
        >>> SupernetSettings(strategy={"name": "fair"}).calibration_images
        500
    """

    capabilities: ClassVar[Capabilities] = Capabilities(inspects=True, tests=True, further=True, several_devices=True)

    weights: str | None = None
    start: str | None = None
    strategy: Mapping[str, Any] = field(default_factory=lambda: {"name": "uniform"})
    cost: str | None = None
    calibration_images: int = 500
    validation_images: int | None = None
    batch: int = 250

    def __post_init__(self) -> None:
        if self.weights and self.start:
            raise ValueError("start: the shared weights are trained already, with weights=; expected one of the two")
        if self.weights and self.cost:
            raise ValueError("cost: has no effect, the shared weights are trained already; leave it out")
        for key in ("calibration_images", "validation_images", "batch"):
            if (value := getattr(self, key)) is not None and value < 1:
                raise ValueError(f"{key}: expected 1 or more images, got {value}")

    def check(self, space: Space) -> None:
        """Raises ValueError for a wrong strategy, for what cannot be shared, naming the gene, and for weights of another space."""
        from nas.supernet.file import load_supernet
        from nas.supernet.paths import Paths
        from nas.supernet.strategies import strategy_from
        from nas.supernet.training import NO_START

        strategy = strategy_from(self.strategy)
        if strategy.needs_start and not self.start and self.weights is None:
            raise ValueError(NO_START)
        if self.cost and not strategy.weighs:
            raise ValueError(f"cost: strategy={self.strategy['name']} does not weigh what candidates cost; leave it out")
        Paths.of(space, masked=False)
        self.costs(space)
        if self.weights is not None:
            with _named("evaluator.weights"):
                load_supernet(self.weights).check(space)

    def preparation(self, context: Context) -> Sequence[Job]:
        """One job: the training of the shared weights, or a look at those that there are.

        Raises ValueError where a recipe cannot train them, or the weights are of other images.
        """
        from nas.supernet.file import file_digest, load_supernet

        if self.weights is None:
            net = self.net(context)
            net.check(self.made_strategy())
            return [Job(0, "", data={**self._begins(net), **self._weighs()})]
        with _named("evaluator.weights"):
            found = load_supernet(self.weights)
            found.check(Space.from_plain(context.space), context.dataset)
            return [Job(0, "", data={"path": str(found.path.absolute()), "digest": file_digest(found.path)})]

    @property
    def teaches(self) -> bool:
        return self.weights is None and self.made_strategy().teaches

    def images_of(self) -> str | None:
        from nas.supernet.file import supernet_path

        if self.weights is None:
            return self.start
        with _named("evaluator.weights"):
            return f"{SUPERNET}:{supernet_path(self.weights).absolute()}"

    def _begins(self, net: Supernet) -> dict[str, JSON]:
        """What the training starts from, named from the root; nothing for initial values. Raises ValueError for what does not fit."""
        if self.start is None:
            return {}
        from nas.supernet.start import digest_of, starting_network

        source = absolute_source(self.start)
        with _named("start"):
            return {"start": source, "digest": digest_of(starting_network(net.space, source, 0))}

    def costs(self, space: Space) -> Callable[[Genome], float] | None:
        """Predicted milliseconds of a candidate; None without a predictor. Raises ValueError for one that is not of the space."""
        if self.cost is None:
            return None
        from nas.latency import load_predictor, read_predictor

        predictor = load_predictor(read_predictor(self.cost, "cost"), space, "cost")
        predictor.check(predictor.fingerprint, space, "cost")
        return lambda genome: float(predictor.predict_many(space, [genome])[0])

    def _weighs(self) -> dict[str, JSON]:
        """What the job says of the predictor, so that no other one resumes its training."""
        return {"cost": hashlib.sha256(Path(self.cost).read_bytes()).hexdigest()[:16]} if self.cost else {}

    def net(self, context: Context) -> Supernet:
        """The units of the run's space, by its recipe. Raises ValueError for what cannot be trained so."""
        from nas.supernet.file import load_supernet
        from nas.supernet.training import Supernet

        matrices = self.made_strategy().learns_matrices if self.weights is None else load_supernet(self.weights).matrices
        recipe = build(Recipe, context.settings["recipe"], "recipe")
        return Supernet(Space.from_plain(context.space), context.dataset, recipe, matrices=matrices)

    def made_strategy(self) -> Strategy:
        from nas.supernet.strategies import strategy_from

        return strategy_from(self.strategy)

    def scoring(self) -> Scoring:
        from nas.supernet.scoring import Scoring

        return Scoring(self.calibration_images, self.validation_images, self.batch)

    def make(self, context: Context) -> Evaluator:
        from nas.evaluators.supernet_worker import SupernetEvaluator

        return SupernetEvaluator(self, context)


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Puts the name of a setting before a fault."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
