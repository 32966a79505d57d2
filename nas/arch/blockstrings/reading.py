"""From block strings to an architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from nas.arch import MAX_LAYERS, MAX_STAGES, Arch, Block, Knob, Stage, arch_from_dict, shown
from nas.arch.blocks import knob_values, lower, make_divisible
from nas.arch.blockstrings.grammar import FORMS, LayerString, form_of, read_string
from nas.arch.blockstrings.scaling import Stages, scale_of, scaled_ends, scaled_stages
from nas.arch.multipliers import rounded_width

OPS = {"ir": "mbconv", "ds": "sepconv", "dsa": "sepconv", "cn": "conv", "er": "fused_mbconv", "uir": "uib"}
OPS_E1 = {**OPS, "ds": "mbconv", "cn": "fused_mbconv"}
EXPANDED = ("mbconv", "fused_mbconv", "uib")
GROUP_SIZES = {"fused_mbconv": 0, "mbconv": 1, "sepconv": 1}  # where strings say none


def parse(text: str, form: str | None = None, keys: Mapping[str, object] | None = None, where: str = "blocks") -> Arch:
    """The architecture that strings and keys describe.

    Without keys: 224 pixels, a stem of 3x3, stride 2 and 32 channels (TF: the first `i`), a head of 1280 with dropout 0.2.
    The key `scale` multiplies widths and depths (`nas.arch.blockstrings.scaling.Scale`). The last convolution of timm's lists
    for MobileNetV3 and V4 is the `conv` of a `mobilenet_v3` head that has none.

    Raises ValueError naming the string and its token.
    """
    form = form or form_of(text)
    if form not in FORMS:
        raise ValueError(f"{where}: expected form {' or '.join(FORMS)}, got {shown(form)}")
    stages = _read(text, form, where)
    given = dict(keys or {})
    scale = scale_of(given.pop("scale", None), where)
    data = {"name": "blocks", "resolution": 224, "head": {"op": "classifier", "width": 1280, "dropout": 0.2}, **given}
    data.setdefault("stem", {"op": "conv", "kernel": 3, "stride": 2, "width": stages[0][0].given or 32})
    if form == "timm":
        own = {} if given else {"act": "relu", "se_act": "block"}
        data["defaults"] = {"divisor": 8, **own, **data.get("defaults", {})}
    skeleton = scaled_ends(arch_from_dict({**data, "stages": [{"op": "identity"}]}, where), scale)
    stages = scaled_stages(stages, scale, where)
    if form == "timm":
        skeleton, stages = _last_in_head(skeleton, stages)
    defaults = dict(skeleton.defaults)
    arch = replace(skeleton, stages=_built(stages, stem_width(skeleton), form, defaults, scale.at_least))
    lower(arch, where)
    return arch


def _read(text: str, form: str, where: str) -> Stages:
    stages = []
    for stage in text.split(","):
        strings = stage.split("+")
        layers = [read_string(string.strip(), form, where) for string in strings]
        for string, layer in zip(strings[1:], layers[1:], strict=True):
            if layer.stride != 1:
                raise ValueError(f"{where}: {string!r}: only a stage's first string may have a stride")
        stages.append(layers)
    if len(stages) > MAX_STAGES or sum(layer.repeat for stage in stages for layer in stage) > MAX_LAYERS:
        raise ValueError(f"{where}: more than {MAX_STAGES} stages or {MAX_LAYERS} layers")
    return stages


def _last_in_head(arch: Arch, stages: Stages) -> tuple[Arch, Stages]:
    """timm writes what MobileNetV3's papers have as the head's first convolution as the last string, `cn_r1_k1_s1_c960`."""
    last = stages[-1][0]
    plain = LayerString("cn", 1, None, last.width, 0.0, None, False)
    defaults = dict(arch.defaults)
    acts = arch.head.get("act", defaults.get("act", "hswish")), defaults.get("act", "relu")
    folds = arch.head.op == "mobilenet_v3" and arch.head.get("conv") is None and len(stages) > 1 and acts[0] == acts[1]
    if not folds or len(stages[-1]) > 1 or replace(last, expand=None) != plain:
        return arch, stages
    return replace(arch, head=arch.head.replace(conv=last.width)), stages[:-1]


def _built(stages: Stages, width: int, form: str, defaults: Mapping[str, Knob], at_least: float) -> tuple[Stage, ...]:
    """Stages of blocks, the first of them fed with `width` channels."""
    built = []
    for stage in stages:
        layers = []
        for read in stage:
            for j in range(read.repeat):
                layers.append(_block(read, width, form, j == 0, defaults, at_least))
                width = read.width
        built.append(Stage(tuple(layers), stage[0].stride))
    return tuple(built)


def stem_width(arch: Arch) -> int:
    return knob_values(arch.stem, dict(arch.defaults), f"{arch.name}: stem").get("width") or arch.channels


def _block(
    read: LayerString, width: int, form: str, first: bool, defaults: Mapping[str, Knob], at_least: float
) -> Block:
    op = OPS[read.kind] if read.expand != 1 else OPS_E1[read.kind]
    knobs: dict[str, Knob] = {"width": read.width, **_kernels(read)}
    knobs |= {"se": read.se} if read.se else {}
    knobs |= {"act": read.act} if read.act else {}
    if read.group_size is not None and read.group_size != defaults.get("group_size", GROUP_SIZES[op]):
        knobs["group_size"] = read.group_size
    # TensorFlow goes by the declared input width: a residual where it agrees with the output, ratios of it.
    declared = read.given if first and read.given not in (None, width) else None
    skip = read.skip and not (declared and read.width == width)
    if skip != (op != "conv") or "skip" in defaults:
        knobs["skip"] = "identity" if skip else "none"
    if read.kind == "dsa":
        knobs |= {"project_act": read.act or defaults.get("act", "relu"), "skip": "none"}
    if op in EXPANDED:
        knobs |= _expansion(read, width, form, declared, defaults)
    hidden = knobs.get("hidden") or (hidden_width(width, read.expand, defaults) if op in EXPANDED and read.expand else width)
    if declared and read.se and op in EXPANDED:
        knobs["se_width"] = max(1, int(declared * knobs.pop("se")))
    elif form == "timm" and read.se and (squeezed := _timm_se_width(read, width, hidden, defaults, at_least)):
        knobs["se_width"] = squeezed
        del knobs["se"]
    return Block.of(op, **knobs)


def _kernels(read: LayerString) -> dict[str, Knob]:
    if read.kind != "uir":
        return {"kernel": read.kernel}
    own = {"start_kernel": read.start, "mid_kernel": read.kernel, "end_kernel": read.end}
    return {name: size for name, size in own.items() if size or name == "mid_kernel"}


def _expansion(
    read: LayerString, width: int, form: str, declared: int | None, defaults: Mapping[str, Knob]
) -> dict[str, Knob]:
    ratio = read.expand or 1.0
    knobs: dict[str, Knob] = {"expand": int(ratio) if ratio == int(ratio) else ratio}
    if read.hidden_of:
        knobs = {"hidden": make_divisible(read.hidden_of * ratio, 8)}
    elif declared and ratio != 1:
        knobs = {"hidden": round(declared * ratio)}
    hidden = knobs.get("hidden") or hidden_width(width, ratio, defaults)
    if form == "timm" and read.kind in ("ir", "er") and hidden == width:
        knobs["force_expand"] = True
    return knobs


def squeezed_by_timm(se: float, hidden: int, expand: float | None, se_of: str) -> int:
    """Channels that timm squeezes to where it has no divisor: it rounds, and takes the expansion out of the ratio."""
    return max(1, round(hidden * (se / (expand or 1.0) if se_of == "input" else se)))


def _timm_se_width(
    read: LayerString, width: int, hidden: int, defaults: Mapping[str, Knob], at_least: float
) -> int | None:
    """The squeezed width where the ratio as our blocks read it would give another one."""
    se_of, divisor = defaults.get("se_of", "input"), defaults.get("se_divisor", 1)
    base = (width if se_of == "input" or read.kind in ("ds", "dsa") else hidden) * read.se
    if read.kind == "cn":
        return None
    if divisor == 1:
        squeezed, ours = squeezed_by_timm(read.se, hidden, read.expand, se_of), max(1, int(base))
    else:
        squeezed, ours = rounded_width(base, divisor, at_least), make_divisible(base, divisor)
    return squeezed if squeezed != ours else None


def hidden_width(width: int, ratio: float, defaults: Mapping[str, Knob]) -> int:
    divisor = defaults.get("divisor", 1)
    return make_divisible(width * ratio, divisor) if divisor > 1 else max(1, round(width * ratio))
