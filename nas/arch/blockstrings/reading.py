"""From block strings to an architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from nas.arch import MAX_LAYERS, MAX_STAGES, Arch, Block, Knob, Stage, arch_from_dict, shown
from nas.arch.blocks import knob_values, lower, make_divisible
from nas.arch.blockstrings.grammar import FORMS, LayerString, form_of, read_string

OPS = {"ir": "mbconv", "ds": "sepconv", "dsa": "sepconv", "cn": "conv", "er": "fused_mbconv"}
OPS_E1 = {**OPS, "ds": "mbconv", "cn": "fused_mbconv"}


def parse(text: str, form: str | None = None, keys: Mapping[str, object] | None = None, where: str = "blocks") -> Arch:
    """The architecture that strings and keys describe.

    Without keys: 224 pixels, a stem of 3x3, stride 2 and 32 channels (TF: the first `i`), a head of 1280 with dropout 0.2.
    Raises ValueError naming the string and its token.
    """
    form = form or form_of(text)
    if form not in FORMS:
        raise ValueError(f"{where}: expected form {' or '.join(FORMS)}, got {shown(form)}")
    stages = [[read_string(s.strip(), form, where) for s in stage.split("+")] for stage in text.split(",")]
    if len(stages) > MAX_STAGES or sum(layer.repeat for stage in stages for layer in stage) > MAX_LAYERS:
        raise ValueError(f"{where}: more than {MAX_STAGES} stages or {MAX_LAYERS} layers")
    data = {
        "name": "blocks",
        "resolution": 224,
        "head": {"op": "classifier", "width": 1280, "dropout": 0.2},
        **(keys or {}),
    }
    data.setdefault("stem", {"op": "conv", "kernel": 3, "stride": 2, "width": stages[0][0].given or 32})
    if form == "timm":
        data["defaults"] = {"divisor": 8, **({} if keys else {"act": "relu"}), **data.get("defaults", {})}
    skeleton = arch_from_dict({**data, "stages": [{"op": "identity"}]}, where)
    width, built = stem_width(skeleton), []
    for stage, strings in zip(stages, text.split(","), strict=True):
        layers = []
        for i, read in enumerate(stage):
            if i and read.stride != 1:
                raise ValueError(f"{where}: {strings.split('+')[i]!r}: only a stage's first string may have a stride")
            for j in range(read.repeat):
                layers.append(_block(read, width, form, j == 0, dict(skeleton.defaults)))
                width = read.width
        built.append(Stage(tuple(layers), stage[0].stride))
    arch = replace(skeleton, stages=tuple(built))
    lower(arch, where)
    return arch


def stem_width(arch: Arch) -> int:
    return knob_values(arch.stem, dict(arch.defaults), f"{arch.name}: stem").get("width") or arch.channels


def _block(read: LayerString, width: int, form: str, first: bool, defaults: Mapping[str, Knob]) -> Block:
    op = OPS[read.kind] if read.expand != 1 else OPS_E1[read.kind]
    knobs: dict[str, Knob] = {"width": read.width, "kernel": read.kernel}
    knobs |= {"se": read.se} if read.se else {}
    knobs |= {"act": read.act} if read.act else {}
    # TensorFlow goes by the declared input width: a residual where it agrees with the output, ratios of it.
    declared = read.given if first and read.given not in (None, width) else None
    skip = read.skip and not (declared and read.width == width)
    if skip != (op != "conv") or "skip" in defaults:
        knobs["skip"] = "identity" if skip else "none"
    if read.kind == "dsa":
        knobs |= {"project_act": read.act or defaults.get("act", "relu"), "skip": "none"}
    if op not in ("mbconv", "fused_mbconv"):
        return Block.of(op, **knobs)
    ratio = read.expand or 1.0
    knobs["expand"] = int(ratio) if ratio == int(ratio) else ratio
    if declared and read.se:
        knobs["se_width"] = max(1, int(declared * knobs.pop("se")))
    if read.hidden_of or (declared and ratio != 1):
        del knobs["expand"]
        knobs["hidden"] = (
            make_divisible(read.hidden_of * ratio, 8) if read.hidden_of else round((declared or 1) * ratio)
        )
    hidden = knobs.get("hidden") or hidden_width(width, ratio, defaults)
    if form == "timm" and read.kind in ("ir", "er") and hidden == width:
        knobs["force_expand"] = True
    return Block.of(op, **knobs)


def hidden_width(width: int, ratio: float, defaults: Mapping[str, Knob]) -> int:
    divisor = defaults.get("divisor", 1)
    return make_divisible(width * ratio, divisor) if divisor > 1 else max(1, round(width * ratio))
