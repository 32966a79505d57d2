"""Our networks beside torchvision's and timm's: random weights go through a file and our reader, logits are compared."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from keras_models import images
from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.files import load_arch
from nas.arch.find import find_arch
from nas.arch.graph import Graph
from nas.arch.multipliers import with_resolution
from nas.convert import Imported, starting_weights
from nas.convert.torch_layers import SAVE
from nas.data.published import as_published
from nas.nn.network import apply
from nas.nn.weights import HostVariables
from networks import logits
from timm_lists import lists

torch: Any = importlib.import_module("torch")

WIDE_TOLERANCE, TOLERANCE = 1e-8, 1e-3  # of the largest difference to the logits' standard deviation: float64, float32


class Difference(NamedTuple):
    """The largest of logits, in standard deviations of the logits."""

    wide: float
    single: float


class Twin(NamedTuple):
    """A reference of ours (None: what timm's block list says), and a library's model; `side`: pixels, 0 for its own."""

    ours: str | None
    library: str
    theirs: str
    side: int = 0

    @property
    def name(self) -> str:
        return f"{self.library}-{self.theirs}"


SMALL = 96  # pixels of networks that would take a minute at their own size
TORCHVISION = (
    ("alexnet", "alexnet", 0), ("densenet121", "densenet121", SMALL), ("efficientnet_b0", "efficientnet_b0", 0),
    ("efficientnet_b1", "efficientnet_b1", SMALL), ("efficientnet_b2", "efficientnet_b2", SMALL),
    ("efficientnet_b3", "efficientnet_b3", SMALL), ("efficientnet_b5", "efficientnet_b5", SMALL),
    ("efficientnetv2_s", "efficientnet_v2_s", SMALL), ("googlenet", "googlenet", SMALL), ("mnasnet_b1", "mnasnet1_0", 0),
    ("mobilenet_v2", "mobilenet_v2", 0), ("mobilenet_v3_large", "mobilenet_v3_large", 0),
    ("mobilenet_v3_small", "mobilenet_v3_small", 0), ("resnet18", "resnet18", SMALL), ("resnet34", "resnet34", SMALL),
    ("resnet50", "resnet50", SMALL), ("resnext50_32x4d", "resnext50_32x4d", SMALL), ("shufflenet_v2", "shufflenet_v2_x1_0", 0),
    ("vgg16", "vgg16", 0),
)  # fmt: skip
# Not our mnasnet_small, which is Google's: its parameters are timm's, but logits differ by many deviations.
TIMM = (
    ("densenet121", "densenet121", SMALL), ("efficientnet_b0", "efficientnet_b0", 0), ("efficientnet_b0", "tf_efficientnet_b0", 0),
    ("efficientnet_b1", "tf_efficientnet_b1", SMALL), ("efficientnet_b2", "tf_efficientnet_b2", SMALL),
    ("efficientnet_b3", "tf_efficientnet_b3", SMALL), ("efficientnet_b4", "tf_efficientnet_b4", SMALL),
    ("efficientnet_lite0", "efficientnet_lite0", 0), ("efficientnet_lite0", "tf_efficientnet_lite0", 0),
    ("efficientnet_lite1", "tf_efficientnet_lite1", SMALL), ("efficientnet_lite2", "tf_efficientnet_lite2", SMALL),
    ("efficientnet_lite3", "tf_efficientnet_lite3", SMALL), ("efficientnet_lite4", "tf_efficientnet_lite4", SMALL),
    ("efficientnetv2_b0", "tf_efficientnetv2_b0", 0), ("efficientnetv2_b1", "tf_efficientnetv2_b1", SMALL),
    ("efficientnetv2_b2", "tf_efficientnetv2_b2", SMALL), ("efficientnetv2_b3", "tf_efficientnetv2_b3", SMALL),
    ("efficientnetv2_s", "tf_efficientnetv2_s", SMALL), ("mnasnet_a1", "semnasnet_100", 0), ("mnasnet_b1", "mnasnet_100", 0),
    ("mobilenet_v1", "mobilenetv1_100", 0), ("mobilenet_v2", "mobilenetv2_100", 0),
    ("mobilenet_v2_035", "mobilenetv2_035", 0), ("mobilenet_v2_050", "mobilenetv2_050", 0),
    ("mobilenet_v2_075", "mobilenetv2_075", 0), ("mobilenet_v2_140", "mobilenetv2_140", 0),
    ("mobilenet_v3_large", "tf_mobilenetv3_large_100", 0), ("mobilenet_v3_large_075", "tf_mobilenetv3_large_075", 0),
    ("mobilenet_v3_large_minimalistic", "tf_mobilenetv3_large_minimal_100", 0),
    ("mobilenet_v3_small", "tf_mobilenetv3_small_100", 0), ("mobilenet_v3_small_075", "tf_mobilenetv3_small_075", 0),
    ("mobilenet_v3_small_minimalistic", "tf_mobilenetv3_small_minimal_100", 0), ("resnet18", "resnet18", SMALL),
    ("resnet34", "resnet34", SMALL), ("resnet50", "resnet50", SMALL), ("resnext50_32x4d", "resnext50_32x4d", SMALL),
    ("se_resnet50", "seresnet50", SMALL), ("xception", "legacy_xception", SMALL),
)  # fmt: skip
LISTS = ("fbnetc_100", "fbnetv3_b", "hardcorenas_a", "lcnet_100", "mobilenet_edgetpu_100", "mobilenet_edgetpu_v2_xs",
         "mobilenetv3_rw", "mobilenetv4_conv_small", "spnasnet_100", "test_efficientnet", "tinynet_e")  # fmt: skip
TWINS = (
    *(Twin(ours, "torchvision", theirs, side) for ours, theirs, side in TORCHVISION),
    *(Twin(ours, "timm", theirs, side) for ours, theirs, side in TIMM),
    *(Twin(None, "timm", name) for name in LISTS),
)


def model_of(twin: Twin) -> Any:
    """The library's model without pretrained weights."""
    if twin.library == "timm":
        return importlib.import_module("timm").create_model(twin.theirs)
    options = {"aux_logits": False, "init_weights": False} if twin.theirs == "googlenet" else {}
    return getattr(importlib.import_module("torchvision").models, twin.theirs)(weights=None, **options)


def randomize(model: Any, batch: np.ndarray, seed: int = 0) -> None:
    """Every weight drawn anew; statistics are those that each norm meets in the batch, disturbed.

    So values stay of order one at any depth: what a disturbance changes, the statistics of the norms after it have seen.
    """
    rng = np.random.default_rng(seed)

    def put(tensor: Any, array: np.ndarray) -> None:
        tensor.copy_(torch.from_numpy(np.asarray(array, np.float32).reshape(tuple(tensor.shape))))

    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    scales = {id(norm.weight) for norm in norms}
    with torch.no_grad():
        for tensor in model.parameters():
            shape = tuple(tensor.shape)
            if id(tensor) in scales:
                put(tensor, rng.uniform(0.5, 1.5, shape))
            elif len(shape) == 1:
                put(tensor, rng.normal(0, 0.1, shape))
            else:
                put(tensor, rng.standard_normal(shape) * np.sqrt((2 if len(shape) == 4 else 1) / np.prod(shape[1:])))

        def measure(norm: Any, given: Any) -> None:
            mean, variance = given[0].mean((0, 2, 3)).numpy(), given[0].var((0, 2, 3), correction=0).numpy()
            put(norm.running_mean, mean + 0.1 * rng.standard_normal(mean.shape) * np.sqrt(variance))
            put(norm.running_var, variance * rng.uniform(0.8, 1.2, variance.shape) + 0.01)

        hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
        model.eval()(_tensor(batch))
        for hook in hooks:
            hook.remove()


def _tensor(batch: np.ndarray) -> Any:
    return torch.from_numpy(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))


def answers(model: Any, batch: np.ndarray) -> np.ndarray:
    """Logits in inference mode, in the type of the batch."""
    with torch.no_grad():
        return model.to(torch.float64 if batch.dtype == np.float64 else torch.float32)(_tensor(batch)).numpy()


def arch_of(twin: Twin, source: str) -> Arch:
    """Ours, with what the reader knows of the library's networks."""
    if twin.ours is not None:
        arch, _ = as_published(load_arch(twin.ours), source)
    else:
        (listed,) = lists([twin.theirs])
        arch = find_arch(listed.data)
    return with_resolution(arch, twin.side) if twin.side else arch


def wide_logits(graph: Graph, variables: HostVariables, batch: np.ndarray) -> np.ndarray:
    """Ours in float64."""
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda array: np.asarray(array, np.float64), variables)

        @jax.jit
        def infer(variables: HostVariables, batch: jax.Array) -> Any:
            return apply(graph, variables["params"], variables["stats"], batch, train=False, dtype=np.float64)[0]

        return np.asarray(infer(wide, batch))


def compare(twin: Twin, folder: Path) -> Difference:
    """Builds both, carries the weights over in a file, and compares."""
    model = model_of(twin)
    side = twin.side or (load_arch(twin.ours).resolution if twin.ours else 224)
    batch = images(side)
    randomize(model, batch)
    graph, imported = carried(twin, model, folder)
    assert not imported.fresh
    assert not imported.notes, imported.notes
    single = answers(model, batch)
    wide = answers(model, batch.astype(np.float64))
    deviation, contrast = float(wide.std()), float((wide[0] - wide[1]).std())
    assert 0.1 < deviation < 10, "logits are not of order one: the comparison would prove little"
    assert contrast > 0.01 * deviation, "logits hardly depend on the image"
    found = Difference(
        float(np.abs(wide_logits(graph, imported.variables, batch.astype(np.float64)) - wide).max()) / deviation,
        float(np.abs(logits(graph, imported.variables, batch) - single).max()) / deviation,
    )
    print(f"{twin.name}: float64 {found.wide:.1e}, float32 {found.single:.1e} of the logits' deviation {deviation:.2f}, {side} px")
    return found


def carried(twin: Twin, model: Any, folder: Path) -> tuple[Graph, Imported]:
    """Ours with the model's weights: from .pth of torchvision, of timm from .safetensors where its sorted names tell the order."""
    state = {name: array.contiguous() for name, array in model.state_dict().items()}
    for suffix in (".safetensors", ".pth") if twin.library == "timm" else (".pth",):
        path = folder / f"{twin.theirs}{suffix}"
        write = torch.save if suffix == ".pth" else importlib.import_module("safetensors.torch").save_file
        write(state, path)
        graph = lower(arch_of(twin, source := f"{twin.library}:{path}"))
        try:
            return graph, starting_weights(source, graph, 0)
        except ValueError as error:
            if suffix == ".pth" or SAVE not in str(error):
                raise
            print(error)
    raise AssertionError("no file")
