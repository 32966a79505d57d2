"""timm's block lists as its models are built from them: strings, what stands beside them in our words, and parameters."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

# Loaded by name: the type checker is to pass where they are not installed.
torch: Any = importlib.import_module("torch")
timm: Any = importlib.import_module("timm")
BUILDER, *MODULES = (
    importlib.import_module(f"timm.models.{name}") for name in ("_efficientnet_builder", "efficientnet", "mobilenetv3", "hardcorenas")
)
CLASSES = MODULES[0].EfficientNet, MODULES[1].MobileNetV3
ACTS = {"ReLU": "relu", "ReLU6": "relu6", "SiLU": "swish", "Hardswish": "hswish", "GELU": "gelu"}
PLAIN = torch.nn.BatchNorm2d


@dataclass(frozen=True)
class TimmList:
    """A model's list: `data` is a file of ours, `beside` what the model has that neither strings nor our words say."""

    name: str
    data: Mapping[str, Any]
    params: int
    beside: str | None


class _Seen:
    """What timm's own functions were called with while one model was built."""

    def __init__(self) -> None:
        self.decoded: dict[str, Any] = {}
        self.given: dict[str, Any] = {}
        self.kind, self.params = "", 0

    def decode(self, real: Any, *args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(BUILDER.decode_arch_def).bind(*args, **kwargs)
        bound.apply_defaults()
        self.decoded = dict(bound.arguments)
        return real(*args, **kwargs)

    def build(self, cls: type, real: Any, model: Any, *args: Any, **kwargs: Any) -> None:
        bound = inspect.signature(real).bind(model, *args, **kwargs)
        bound.apply_defaults()
        self.kind, self.given = cls.__name__, dict(bound.arguments)
        real(model, *args, **kwargs)
        self.params = count(model)


def count(model: Any) -> int:
    """Parameters, without statistics."""
    return sum(p.numel() for p in model.parameters())


def lists(names: Collection[str] | None = None) -> Iterator[TimmList]:
    """Models of timm that block strings make, all of them or some by name, built without memory for their weights."""
    seen = _Seen()
    with ExitStack() as stack:
        for module in MODULES:
            stack.enter_context(mock.patch.object(module, "decode_arch_def", partial(seen.decode, module.decode_arch_def)))
        for cls in CLASSES:
            real = cls.__init__

            def build(model: Any, *args: Any, cls: type = cls, real: Any = real, **kwargs: Any) -> None:
                seen.build(cls, real, model, *args, **kwargs)

            stack.enter_context(mock.patch.object(cls, "__init__", build))
        for module in MODULES:
            for name in timm.list_models(module=module.__name__.rpartition(".")[2]):
                if names is None or name in names:
                    with torch.device("meta"):
                        model = timm.create_model(name)
                    yield TimmList(name, _data(name, seen), count(model), _beside(seen, count(model)))


def _data(name: str, seen: _Seen) -> dict[str, Any]:
    given, decoded = seen.given, seen.decoded
    rounds = getattr(given["round_chs_fn"], "keywords", {})
    norm = getattr(given["norm_layer"], "keywords", {})
    return {
        "name": name,
        "resolution": 224,
        "padding": "same" if given["pad_type"] == "same" else "torch",
        "norm_eps": norm.get("eps", 1e-5),
        "defaults": _defaults(seen),
        "stem": {"op": "conv", "kernel": given.get("stem_kernel_size", 3), "stride": 2, "width": given["stem_size"]},
        "head": _head(seen),
        "scale": {
            "width": rounds.get("multiplier") or 1.0, "divisor": rounds.get("divisor", 8), "at_least": rounds.get("round_limit", 0.9),
            "depth": decoded["depth_multiplier"], "keep_ends": decoded["fix_first_last"], "nearest": decoded["depth_trunc"] == "round",
            "stem": not given["fix_stem"], "head": "keep",
        },
        "blocks": {"timm": ["+".join(stage) for stage in decoded["arch_def"]]},
    }  # fmt: skip


def _defaults(seen: _Seen) -> dict[str, Any]:
    se = getattr(seen.given["se_layer"], "keywords", {})
    forced = se.get("force_act_layer")
    defaults = {
        "act": _act(seen.given["act_layer"]),
        "se_act": _act(forced) if forced is not None else "block",
        "se_gate": "hsigmoid" if se.get("gate_layer") == "hard_sigmoid" else "sigmoid",
        "se_of": "hidden" if seen.given.get("se_from_exp") else "input",
        "se_divisor": 8 if se.get("rd_round_fn") is not None else 1,
    }
    group_size = seen.decoded["group_size"]
    return {**defaults, **({"group_size": group_size} if group_size else {})}


def _act(layer: Any) -> str:
    return ACTS[(layer or torch.nn.ReLU).__name__]


def _head(seen: _Seen) -> dict[str, Any]:
    width = seen.given["num_features"]
    if seen.kind == "EfficientNet":
        return {"op": "classifier", "width": width}
    norm = bool(seen.given["head_norm"])
    return {"op": "mobilenet_v3", "width": width, "bias": bool(seen.given["head_bias"]) and not norm, "norm": norm}


def _beside(seen: _Seen, params: int) -> str | None:
    given = seen.given
    norm = given["norm_layer"] or PLAIN
    norm = getattr(norm, "func", norm)
    if norm is not PLAIN:
        return f"the norm {norm.__name__}"
    if given["aa_layer"] is not None:
        return f"the anti-aliasing {given['aa_layer']}"
    if isinstance(given["se_layer"], str):
        return f"the gate {given['se_layer']}"
    return "channels pruned after it is built" if params != seen.params else None
