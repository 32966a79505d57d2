"""Looks inside a trained network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas.api.types import Settings

if TYPE_CHECKING:
    from nas.arch import Arch
    from nas.workflows.explain import Explained, Method
    from nas.workflows.predict import Images
    from nas.workflows.progress import Reporting
    from nas.workflows.train import TrainResult


def explain(
    weights: str | Path | TrainResult,
    images: Images,
    *,
    arch: str | Path | Settings | Arch | None = None,
    methods: Sequence[Method] = ("grad_cam", "saliency", "smooth_grad", "integrated_gradients"),
    label: str | None = None,
    tap: str | None = None,
    features: Sequence[str] = (),
    noise: float = 0.15,
    copies: int = 50,
    steps: int = 100,
    seed: int = 0,
    out: str | Path | None = None,
    plugins: Iterable[str] = (),
    progress: Reporting = None,
) -> Explained:
    """Explains what a classifier's answers rest on.

    Args:
        weights: What `train` returned, the folder of a training, or a bundle of `export`; or `timm:<file>`, `torchvision:<file>` or
            `imagenet`.
        images: A file, a folder of images, files, or an array (n, h, w, c) or (h, w, c) uint8.
        arch: The architecture of a library's weights.
        methods: `cam`, where the head is a global pool and one linear layer, `grad_cam`, `saliency`, `smooth_grad`,
            `integrated_gradients`.
        label: The class whose score is explained; None: the most likely one of each image.
        tap: The feature map of Grad-CAM: `C2` .. (the last one at stride 2^n), a layer such as `stages.2.0`, or a node; None:
            the last one.
        features: Feature maps to keep, named as `tap`.
        noise: Standard deviation of SmoothGrad's noise as a fraction of the image's range.
        copies: Noisy ones of SmoothGrad.
        steps: Of integrated gradients, on the line from a black image to this one.
        seed: Of the noise.
        out: Folder for explanation.html, receptive_fields.csv and PNG files; None: nothing is written.
        plugins: Modules with your blocks.
        progress: True, or a function that receives `Update`s.

    Returns:
        An explanation an image, with maps (h, w) by method; the receptive field of each layer; the first filters.

    Raises:
        ValueError: For a mistake in the arguments, or a network without classes.

    Source:
        CAM, Zhou et al. 2016 (arXiv:1512.04150); Grad-CAM, Selvaraju et al. 2017 (arXiv:1610.02391); saliency, Simonyan et
        al. 2013 (arXiv:1312.6034); SmoothGrad, Smilkov et al. 2017 (arXiv:1706.03825); integrated gradients, Sundararajan et
        al. 2017 (arXiv:1703.01365).
    """
    from nas.arch.find import find_arch
    from nas.core.settings import build
    from nas.workflows.arguments import make_progress
    from nas.workflows.explain import ExplainSettings
    from nas.workflows.explain import explain as run_explain
    from nas.workflows.predict import find_bundle
    from nas.workflows.run_folder import use_plugins

    use_plugins(list(plugins))
    given = {
        "methods": tuple(methods), "label": label, "tap": tap, "features": tuple(features), "noise": noise, "copies": copies,
        "steps": steps, "seed": seed,
    }  # fmt: skip
    found = arch if arch is None else find_arch(arch, "arch")
    bundle = find_bundle(weights if isinstance(weights, str | Path) else weights.run, found)
    explained = run_explain(bundle, images, build(ExplainSettings, given, ""), make_progress(progress))
    if out is not None:
        explained.write(out)
    return explained
