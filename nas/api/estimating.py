"""Asks the models that the trials of a run teach."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas.api.types import Settings

if TYPE_CHECKING:
    from nas.arch import Arch
    from nas.workflows.estimate import Estimates
    from nas.workflows.suggest import Suggestions


def estimate(
    run: str | Path, archs: str | int | Path | Settings | Arch | Sequence[str | int | Path | Settings | Arch]
) -> Estimates:  # fmt: skip
    """Predicts networks of a run's space from its journal: accuracy and latency with 90 % intervals.

    Args:
        run: Folder of the run, finished or not.
        archs: One or several: a file, a name, block strings, the content of a file, an `Arch`, the number or id of a trial,
            `front` or `best`.

    Returns:
        An estimate a network, in order, and the trials, tau and coverage that they rest on.

    Raises:
        ValueError: The run has fewer than five trained networks, or a network is not of its space.

    Source:
        A Gaussian process, Rasmussen and Williams 2006, with conformal intervals, Papadopoulos et al. 2002.

    Example:
        >>> import nas
        >>> result = nas.search("tiny", evaluate=lambda arch: {"accuracy": 1 / nas.cost(arch).params}, trials=12, run="runs/asked")
        >>> best = nas.estimate("runs/asked", "best")[0]
        >>> value, low, high = best.predicted["accuracy"]
        >>> low <= value <= high
        True
    """
    from nas.arch import Arch
    from nas.workflows.estimate import estimate as run_estimate

    several = isinstance(archs, Sequence) and not isinstance(archs, str | Arch)
    return run_estimate(run, list(archs) if several else [archs])  # type: ignore[list-item]


def suggest(run: str | Path, n: int = 5, *, seed: int = 0) -> Suggestions:
    """Names networks that the models of a run would try next. The run is not changed.

    Args:
        run: Folder of the run, finished or not.
        n: How many, 1 to 100.
        seed: Equal seeds give equal suggestions.

    Returns:
        Networks with predictions, the gain that is expected of each given those before it, its chance to stand on the front, and the
        member of the front that it differs least from.

    Raises:
        ValueError: The run has fewer than five trained networks.

    Source:
        Expected hypervolume improvement, Emmerich et al. 2006; with one objective expected improvement, Jones et al. 1998.
    """
    from nas.workflows.suggest import suggest as run_suggest

    return run_suggest(run, n, seed)
