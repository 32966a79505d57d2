"""EfficientNet's compound scaling (Tan and Le 2019, arXiv:1905.11946, section 3.3).

Depth, width and resolution grow together: d = alpha^phi, w = beta^phi, r = gamma^phi, with alpha beta^2 gamma^2 about 2, so
that multiply-adds grow as 2^phi. Layers and widths are rounded as in the published code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nas.arch import MAX_RESOLUTION, Arch, number, whole
from nas.arch.multipliers import depth_multiplier, width_multiplier, with_resolution

# B1 .. B8: width, depth, resolution, dropout, set by hand in the published code; exact powers differ.
EFFICIENTNET = {
    0: (1.0, 1.0, 224, 0.2), 1: (1.0, 1.1, 240, 0.2), 2: (1.1, 1.2, 260, 0.3), 3: (1.2, 1.4, 300, 0.3), 4: (1.4, 1.8, 380, 0.4),
    5: (1.6, 2.2, 456, 0.4), 6: (1.8, 2.6, 528, 0.5), 7: (2.0, 3.1, 600, 0.5), 8: (2.2, 3.6, 672, 0.5),
}  # fmt: skip
STEPS = 24  # of a bisection: phi to 1e-6


@dataclass(frozen=True)
class Coefficients:
    """alpha: of depth; beta: of width; gamma: of resolution. All 1 or more; the defaults are the published ones."""

    alpha: float = 1.2
    beta: float = 1.1
    gamma: float = 1.15

    def __post_init__(self) -> None:
        for key in ("alpha", "beta", "gamma"):
            number(getattr(self, key), 1.0, 8.0, key)

    @property
    def product(self) -> float:
        """alpha beta^2 gamma^2, by which multiply-adds grow from one phi to the next."""
        return self.alpha * self.beta**2 * self.gamma**2


def compound(
    arch: Arch, phi: float, coefficients: Coefficients | None = None, *, divisor: int = 8, nearest: bool = False
) -> Arch:
    """The member `phi` of an architecture's family; 0 is the architecture itself, below 0 it shrinks.

    Widths in multiples of `divisor`, the resolution to the nearest pixel, layers rounded up (or to the nearest number).
    Raises ValueError where a size leaves its range.
    """
    c = coefficients or Coefficients()
    if phi == 0:
        return arch
    side = max(1, round(arch.resolution * c.gamma**phi))
    whole(side, 1, MAX_RESOLUTION, f"phi={phi:g}: resolution")
    try:
        scaled = _scaled(arch, c.beta**phi, c.alpha**phi, side, divisor, nearest)
    except ValueError as error:
        raise ValueError(f"phi={phi:g}: {error}") from None
    return dataclasses.replace(scaled, name=f"{arch.name}_phi{_short(phi)}")


def preset(arch: Arch, phi: int) -> Arch:
    """The published coefficients of EfficientNet-B`phi`, on any architecture: resolution in proportion to its own."""
    if phi not in EFFICIENTNET:
        raise ValueError(f"phi: preset efficientnet has {min(EFFICIENTNET)} to {max(EFFICIENTNET)}, got {phi}")
    if phi == 0:
        return arch
    width, depth, side, dropout = EFFICIENTNET[phi]
    base = EFFICIENTNET[0][2]
    scaled = _scaled(arch, width, depth, round(arch.resolution * side / base), 8)
    head = scaled.head.replace(dropout=dropout) if scaled.head.get("dropout") else scaled.head
    name = f"{arch.name.removesuffix('_b0')}_b{phi}" if arch.name.endswith("_b0") else f"{arch.name}_b{phi}"
    return dataclasses.replace(scaled, head=head, name=name)


def _scaled(arch: Arch, width: float, depth: float, side: int, divisor: int, nearest: bool = False) -> Arch:
    wider = width_multiplier(arch, width, divisor=divisor, head="scale")
    return with_resolution(depth_multiplier(wider, depth, nearest=nearest), side)


def to_budget(
    arch: Arch, target: float, cost: Callable[[Arch], float], coefficients: Coefficients | None = None, *,
    divisor: int = 8, low: float = -8.0, high: float = 12.0,
) -> tuple[float, Arch]:  # fmt: skip
    """(phi, member) of the largest phi whose cost does not exceed `target`; the member's cost never does.

    Layers are rounded up or to the nearest number, whichever comes nearer to the target: rounding up alone adds a layer to
    every stage as soon as phi is over 0. Raises ValueError where even `low` costs more.
    """
    found = []
    for nearest in (False, True):

        def member(phi: float, nearest: bool = nearest) -> Arch:
            return compound(arch, phi, coefficients, divisor=divisor, nearest=nearest)

        if (phi := _largest(member, cost, target, low, high)) is not None:
            found.append((cost(member(phi)), phi, member(phi)))
    if not found:
        least = cost(compound(arch, low, coefficients, divisor=divisor, nearest=True))
        raise ValueError(f"{arch.name}: even at phi {low:g} it costs {least:.4g}, more than {target:.4g}")
    return max(found, key=lambda one: one[0])[1:]


def _largest(
    member: Callable[[float], Arch], cost: Callable[[Arch], float], target: float, low: float, high: float
) -> float | None:
    def fits(phi: float) -> bool:
        try:
            return cost(member(phi)) <= target
        except ValueError:  # wider, deeper or larger than an architecture may be
            return False

    if not fits(low):
        return None
    low, high = (0.0, high) if fits(0.0) else (low, 0.0)
    for _ in range(STEPS):
        center = (low + high) / 2
        low, high = (center, high) if fits(center) else (low, center)
    return low


def grid(step: float = 0.05, tolerance: float = 0.1, product: float = 2.0) -> Iterator[Coefficients]:
    """All coefficients in steps of `step` whose alpha beta^2 gamma^2 is `product` to within `tolerance`."""
    number(step, 0.01, 1.0, "grid.step")
    number(tolerance, 0.0, 1.0, "grid.tolerance")
    number(product, 1.0, 8.0, "grid.product")
    most = product + tolerance

    def axis(power: int) -> list[float]:
        values = []
        while (value := round(1 + step * len(values), 10)) ** power <= most:
            values.append(value)
        return values

    for alpha in axis(1):
        for beta in axis(2):
            for gamma in axis(2):
                if abs((found := Coefficients(alpha, beta, gamma)).product - product) <= tolerance + 1e-9:
                    yield found


def _short(phi: float) -> str:
    return f"{phi:.3f}".rstrip("0").rstrip(".").replace("-", "m").replace(".", "p")
