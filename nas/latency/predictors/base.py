"""What a latency predictor is: milliseconds of the networks of a space on one device, frozen, plain data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import kendalltau, spearmanr

from nas.arch import Arch
from nas.records import JSON
from nas.space import Space

Progress = Callable[[str, int, int], None]  # what is done, step, of how many


class Predictor(Protocol):
    """Milliseconds of networks on a device. A frozen value: equal data give equal numbers on every machine.

    kind: what `to_dict` carries, by which `load_predictor` knows the class.
    device, fingerprint, info: of the device that it is made for, see `nas.latency.Device`.
    mape: mean relative error on networks that the fit did not see; None where nothing was fitted.
    """

    kind: ClassVar[str]

    @property
    def device(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def mape(self) -> float | None: ...

    def predict_many(self, space: Space, genomes: ArrayLike) -> np.ndarray:
        """(n, genes) options -> (n,) milliseconds.

        Raises:
            ValueError: A row is no genome of the space, or the predictor does not know the space.
        """
        ...

    def predict_arch(self, arch: Arch) -> float:
        """Milliseconds of one network. Raises ValueError where the predictor does not know such networks."""
        ...

    def check(self, fingerprint: str, space: Space, where: str = "predictor") -> None:
        """Raises ValueError with the reason where it is made for another device, other settings or another space."""
        ...

    def to_dict(self) -> dict[str, JSON]:
        """Plain data for JSON."""
        ...


class Origin(Protocol):
    """What the data of a fitted predictor states about its origin: device, and fingerprint of the space."""

    @property
    def device(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def info(self) -> Mapping[str, JSON]: ...

    @property
    def space(self) -> str: ...


def check_origin(origin: Origin, fingerprint: str, space: Space, where: str) -> None:
    """Raises ValueError where a predictor's data names another space, or another device, settings or versions."""
    if origin.space != space.fingerprint:
        raise ValueError(f"{where}: made for another space than {space.name} as it is now; fit it again")
    if origin.fingerprint != fingerprint:
        known = ", ".join(f"{key} {value}" for key, value in origin.info.items())
        raise ValueError(
            f"{where}: made on another device or with other settings ({origin.device}: {known}); fit it again"
        )


def scores(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """How well predictions agree with measurements.

    Args:
        predicted: (n,) milliseconds.
        measured: (n,) milliseconds, to which errors are relative.

    Returns:
        `tau` (Kendall's, tau-b) and `rho` (Spearman's), nan where either list has one value only; `mape`, the mean relative
        error; `within_5` and `within_10`, the fractions of networks within 5 and 10 %.
    """
    error = np.abs(predicted / measured - 1)
    several = len(measured) > 1 and len(set(measured.tolist())) > 1 and len(set(predicted.tolist())) > 1
    tau, rho = (float(np.asarray(f(predicted, measured))[0]) if several else math.nan for f in (kendalltau, spearmanr))
    return {
        "tau": tau, "rho": rho, "mape": float(error.mean()),
        "within_5": float((error <= 0.05).mean()), "within_10": float((error <= 0.1).mean()),
    }  # fmt: skip
