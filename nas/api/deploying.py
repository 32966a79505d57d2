"""Fits architectures to devices: latency predictors, smaller and larger networks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nas.api.types import Settings

if TYPE_CHECKING:
    from nas.arch import Arch
    from nas.data import DatasetSettings
    from nas.recipe import Recipe
    from nas.space import Space
    from nas.workflows.adapt.run import AdaptResult
    from nas.workflows.profile_devices import Profiled
    from nas.workflows.progress import Reporting
    from nas.workflows.scale.run import ScaleResult
    from nas.workflows.train import TrainResult


def profile(
    space: str | Path | Settings | Space = "tiny",
    device: str | Sequence[str] | Settings | None = None,
    *,
    samples: int | Literal["auto"] = 100,
    error: float = 0.05,
    holdout: int = 20,
    resolution: int | None = None,
    channels: int = 3,
    classes: int = 1000,
    divisor: int | None = None,
    seed: int = 0,
    threads: int = 1,
    out: str | Path | None = None,
    run: str | Path | None = None,
    plugins: Iterable[str] = (),
    progress: Reporting = None,
) -> list[Profiled]:
    """Measures networks of a space on devices and fits a latency predictor to each, which a search can be given.

    Args:
        space: As in `search`.
        device: Devices: a name, names, or settings by name; None: onnxruntime, with a GPU or TPU host.
        samples: Networks to fit to; `auto`: until the error below is reached.
        error: With `auto`: mean relative error on networks left out.
        holdout: Networks kept apart to test the predictor.
        resolution: Image size in pixels; None: the space's own.
        channels: Channels of the images.
        classes: Classes.
        divisor: Stage widths become multiples of it; None: as the space says.
        seed: One seed, one sequence of networks.
        threads: CPU threads of the process that measures.
        out: File for the predictor; None: in the folder of the run.
        run: The folder; None: runs/profile-<a name made of the arguments>.
        plugins: Modules with your blocks or devices.
        progress: True, or a function that receives `Update`s.

    Returns:
        A predictor with its errors for each device.

    Raises:
        ValueError: For a mistake in the arguments, and where too few networks could be measured.
    """
    from nas.space import load_space
    from nas.workflows.arguments import settings_among, workflow_arguments
    from nas.workflows.profile_devices import ProfileCommand
    from nas.workflows.profile_devices import profile as run_profile

    given = settings_among(ProfileCommand, locals())
    arguments = workflow_arguments("profile", given, space=load_space(space))
    return run_profile(*arguments.prepared(ProfileCommand, run, progress), arguments.custom)


def adapt(
    weights: str | Path | TrainResult,
    dataset: str | Settings | DatasetSettings | None = None,
    *,
    target: float = 0.7,
    target_ms: float | None = None,
    arch: str | Path | None = None,
    device: str | Sequence[str] | Settings | None = None,
    recipe: str | Settings | Recipe | None = None,
    evaluator: str | Settings | None = None,
    executor: str | Settings | None = None,
    adapt: Settings | None = None,
    seed: int = 0,
    threads: int = 1,
    timeout_s: float | None = 3600,
    run: str | Path | None = None,
    plugins: Iterable[str] = (),
    progress: Reporting = None,
) -> AdaptResult:
    """Shrinks a trained network step by step until it meets a latency.

    Args:
        weights: What `train` returned, or a weights.npz.
        dataset: Name or settings; None: digits.
        target: Fraction of the network's predicted latency to reach.
        target_ms: Milliseconds to reach; over `target` where it is set.
        arch: The architecture; None: arch.yaml beside the weights.
        device: The device; None: onnxruntime, with a GPU or TPU host.
        recipe: Of the short trainings: a name, settings, or a `Recipe`.
        evaluator: `layerwise` or `scratch`, or settings.
        executor: `local`, `processes` or `ray`, or settings.
        adapt: Settings of the steps, such as `{"step": 0.03}`.
        seed: Of proposals and trainings.
        threads: CPU threads a training.
        timeout_s: A training that takes longer is ended; None: never.
        run: The folder; None: runs/adapt-<a name made of the arguments>.
        plugins: Modules with your blocks, datasets or devices.
        progress: True, or a function that receives `Update`s.

    Returns:
        The network at the end, the path to it, and what was measured.

    Raises:
        ValueError: For a mistake in the arguments, and where the target cannot be reached.

    Source:
        NetAdapt, Yang et al. 2018 (arXiv:1804.03230).
    """
    from nas.workflows.adapt.run import AdaptCommand
    from nas.workflows.adapt.run import adapt as run_adapt
    from nas.workflows.arguments import settings_among, workflow_arguments

    given = settings_among(AdaptCommand, locals())
    arguments = workflow_arguments("adapt", {**given, "weights": str(getattr(weights, "weights", weights))})
    return run_adapt(*arguments.prepared(AdaptCommand, run, progress))


def scale(
    arch: str | Path | Settings | Arch,
    *,
    phi: Sequence[float] = (1, 2, 3),
    preset: Literal["efficientnet"] | None = None,
    alpha: float = 1.2,
    beta: float = 1.1,
    gamma: float = 1.15,
    divisor: int = 8,
    macs: Sequence[float] = (),
    target_ms: Sequence[float] = (),
    grid: Settings | None = None,
    train: bool = False,
    dataset: str | Settings | DatasetSettings | None = None,
    recipe: str | Settings | Recipe | None = None,
    device: str | Sequence[str] | Settings | None = None,
    executor: str | Settings | None = None,
    seed: int = 0,
    threads: int = 1,
    timeout_s: float | None = 3600,
    run: str | Path | None = None,
    plugins: Iterable[str] = (),
    progress: Reporting = None,
) -> ScaleResult:
    """Scales an architecture to a family: depth alpha^phi, width beta^phi, resolution gamma^phi.

    Args:
        arch: Name of a reference architecture, path, block strings, or an `Arch`.
        phi: Members.
        preset: `efficientnet`: the published B1 to B8 instead, phi 1 to 8.
        alpha: Of depth.
        beta: Of width.
        gamma: Of resolution.
        divisor: Widths become multiples of it.
        macs: Members that just meet these multiply-adds, instead of phi.
        target_ms: Members that just meet these predicted latencies on the one device, instead of phi.
        grid: Settings of the search for alpha, beta and gamma, such as `{"search": True}`.
        train: Whether the members are trained.
        dataset: Name or settings; None: digits.
        recipe: Of trainings: a name, settings, or a `Recipe`.
        device: Devices on which members are measured.
        executor: `local`, `processes` or `ray`, or settings.
        seed: Of trainings.
        threads: CPU threads a training.
        timeout_s: A training that takes longer is ended; None: never.
        run: Folder for the members; None: runs/scale-<a name made of the arguments> where something is measured or trained.
        plugins: Modules with your blocks or datasets.
        progress: True, or a function that receives `Update`s.

    Returns:
        The members with their figures.

    Raises:
        ValueError: For a mistake in the arguments.

    Source:
        EfficientNet, Tan and Le 2019 (arXiv:1905.11946).

    Example:
        >>> import nas
        >>> [member.arch.resolution for member in nas.scale("efficientnet_b0", preset="efficientnet", phi=[1, 2]).members]
        [240, 260]
    """
    from nas.arch.find import find_arch
    from nas.workflows.arguments import settings_among, workflow_arguments
    from nas.workflows.scale.run import ScaleCommand
    from nas.workflows.scale.run import scale as run_scale

    given = settings_among(ScaleCommand, locals())
    arguments = workflow_arguments("scale", {**given, "phi": list(phi)}, arch=find_arch(arch, "arch"))
    return run_scale(*arguments.prepared(ScaleCommand, run, progress), arguments.custom)
