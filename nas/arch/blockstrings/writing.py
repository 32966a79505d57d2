"""From an architecture to block strings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from nas.arch import Arch, Block, Knob, shown
from nas.arch.blocks import knob_values, lower, make_divisible
from nas.arch.blockstrings.grammar import FORMS, TF_ACTS, TIMM_ACTS, LayerString
from nas.arch.blockstrings.reading import OPS, hidden_width, parse, squeezed_by_timm, stem_width


@dataclass(frozen=True)
class BlockStrings:
    """`strings`, stage by stage, and all else of the architecture's file as `keys`."""

    form: str
    strings: tuple[tuple[str, ...], ...]
    keys: Mapping[str, object] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return ",".join("+".join(stage) for stage in self.strings)


def format(arch: Arch, form: str) -> BlockStrings:
    """The strings of an architecture. Raises ValueError naming the layer, or the knob, that the form cannot express."""
    if form not in FORMS:
        raise ValueError(f"{arch.name}: expected form {' or '.join(FORMS)}, got {shown(form)}")
    defaults = dict(arch.defaults)
    width = stem_width(arch)
    stages = []
    for i, stage in enumerate(arch.stages):
        runs: list[LayerString] = []
        for j, block in enumerate(stage.layers):
            if _does_nothing(block, width, stage.stride if j == 0 else 1):
                continue
            layer = _described(block, defaults, width, form, f"{arch.name}: stages[{i}].layers[{j}]")
            if runs and replace(runs[-1], repeat=1, stride=1, given=None) == replace(layer, given=None):
                runs[-1] = replace(runs[-1], repeat=runs[-1].repeat + 1)
            else:
                runs.append(replace(layer, stride=stage.stride if j == 0 else 1))
            width = layer.width
        if runs:
            stages.append(tuple(_text(layer, form, f"{arch.name}: stages[{i}]") for layer in runs))
    keys = {key: value for key, value in arch.to_dict().items() if key != "stages"}
    strings = BlockStrings(form, tuple(stages), keys)
    _check_equal(arch, parse(strings.text, form, keys, arch.name), form)
    return strings


def _does_nothing(block: Block, width: int, stride: int) -> bool:
    """Strings have no word for a layer that a search left out, and need none."""
    return block.op == "identity" and stride == 1 and block.get("width", 0) in (0, width)


def _described(block: Block, defaults: Mapping[str, Knob], width: int, form: str, place: str) -> LayerString:
    """What a string would have to say of a layer that `width` channels feed."""
    if block.op not in OPS.values():
        raise ValueError(f"{place}: the {form} form has no block for {block.op}")
    values = knob_values(block, defaults, place)
    bare = Block.of(block.op, **{k: v for k, v in block.knobs if k in ("width", "expand", "hidden")})
    model = knob_values(bare, defaults, place)
    for name in values:
        if name not in _TOLD and values[name] != model[name]:
            raise ValueError(
                f"{place}.{name}: the {form} form has no token for it; as one of the defaults it can stand beside"
            )
    if values["skip"] == "pool":
        raise ValueError(f"{place}.skip: the {form} form has no pooling skip")
    if isinstance(values.get("kernel"), tuple):
        raise ValueError(f"{place}.kernel: the {form} form has square kernels only")
    kind, expand, hidden = _kind(block.op, values, width, form, place)
    if form == "tf" and values.get("group_size") != model.get("group_size"):
        raise ValueError(f"{place}.group_size: the tf form has no token for it")
    return LayerString(
        kind=kind,
        kernel=values["mid_kernel" if kind == "uir" else "kernel"],
        expand=expand,
        width=values["width"],
        se=_se_ratio(kind, values, width, hidden, expand, form, place),
        act=values["act"] if _act_told(block, values, model, defaults, form) else None,
        skip=values["skip"] == "identity",
        given=width,
        start=values.get("start_kernel", 0),
        end=values.get("end_kernel", 0),
        group_size=values["group_size"] if values.get("group_size") != model.get("group_size") else None,
    )


def _se_ratio(
    kind: str, values: Mapping[str, Knob], width: int, hidden: int, expand: float | None, form: str, place: str
) -> float:
    """The ratio in a string that gives as many squeezed channels as the layer has; 0 where it has none."""
    of_input = values["se_of"] == "input" or kind in ("ds", "dsa")
    base = width if of_input else values["width"] if kind == "cn" else hidden
    squeezed = values["se_width"] or max(1, int(base * values["se"]))
    rounds = form == "timm" and values["se_divisor"] == 1 and kind != "cn"

    def fits(ratio: float) -> bool:
        if rounds:
            return squeezed_by_timm(ratio, hidden, expand, values["se_of"]) == squeezed
        return _squeezes(ratio, base, values)

    if not (values["se"] or values["se_width"]):
        return 0.0
    if not values["se_width"] and (not rounds or fits(values["se"])):
        return values["se"]
    return _ratio(squeezed, base, fits, f"{place}.se_width")


def _act_told(
    block: Block, values: Mapping[str, Knob], model: Mapping[str, Knob], defaults: Mapping[str, Knob], form: str
) -> bool:
    """timm's models differ in their activation, so a string leaves it out only where the keys beside it say one."""
    if values["act"] != model["act"] or form == "tf":
        return values["act"] != model["act"]
    return "act" not in defaults or (block.get("act") is not None and values["act"] in TIMM_ACTS.values())


_TOLD = (
    "width", "kernel", "expand", "hidden", "act", "se", "se_width", "skip", "force_expand", "project_act", "group_size",
    "start_kernel", "mid_kernel", "end_kernel",
)  # fmt: skip


def _squeezes(ratio: float, base: int, values: Mapping[str, Knob]) -> bool:
    divisor = values["se_divisor"]
    squeezed = make_divisible(base * ratio, divisor) if divisor > 1 else max(1, int(base * ratio))
    return squeezed == values["se_width"]


def _kind(op: str, values: Mapping[str, Knob], width: int, form: str, place: str) -> tuple[str, float | None, int]:
    """timm's type of a layer, its expansion (None where the string leaves it out) and its expanded width."""
    if op == "sepconv" and values["project_act"] != "none":
        if form == "tf" or values["project_act"] != values["act"] or values["skip"] != "none":
            raise ValueError(f"{place}.project_act: the {form} form cannot express it here")
        return "dsa", None, width
    if op in ("sepconv", "conv"):
        return ("ds" if op == "sepconv" else "cn"), (1.0 if form == "tf" else None), width
    kinds = {"mbconv": ("ds", "ir"), "fused_mbconv": ("cn", "er"), "uib": ("", "uir")}[op]
    if op == "uib" and form == "tf":
        raise ValueError(f"{place}: the tf form has no block for uib")
    hidden = values["hidden"] or hidden_width(width, values["expand"], values)
    if op != "uib" and hidden == width and not values["force_expand"]:
        return kinds[0], 1.0, hidden
    if hidden == width and form == "tf":
        raise ValueError(f"{place}.force_expand: the tf form has no expansion of 1")
    rounding = {"divisor": 1 if form == "tf" else 8}
    ratio = values["expand"] or _ratio(
        hidden, width, lambda r: hidden_width(width, r, rounding) == hidden, f"{place}.hidden"
    )
    if form == "tf" and ratio != int(ratio):
        raise ValueError(f"{place}: the tf form has whole expansions only, not {ratio:g}")
    return kinds[1], ratio, hidden


def _ratio(expected: int, base: int, fits: Callable[[float], bool], place: str) -> float:
    """The shortest decimal that gives a width from another."""
    for exact in (expected / base, (expected + 0.5) / base):
        for digits in range(10):
            if fits(round(exact, digits)):
                return round(exact, digits)
    raise ValueError(f"{place}: no ratio gives {expected} of {base} channels in this form")


def _text(layer: LayerString, form: str, place: str) -> str:
    if layer.stride > 9:
        raise ValueError(f"{place}.stride: block strings have strides up to 9, not {layer.stride}")
    se = f"_se{_decimal(layer.se)}" if layer.se else ""
    if form == "tf":
        acts = {act: f"_a{digit}" for digit, act in TF_ACTS.items()}
        size = f"r{layer.repeat}_k{layer.kernel}_s{layer.stride}{layer.stride}_e{_decimal(layer.expand or 1)}"
        fused = "_c1" if layer.kind in ("cn", "er") else ""
        act, skip = _token(layer.act, acts, form, place), "" if layer.skip else "_noskip"
        return f"{size}_i{layer.given}_o{layer.width}{se}{fused}{act}{skip}"
    if se and layer.kind == "cn":
        raise ValueError(f"{place}: the timm form has no squeeze-excite in cn")
    expand = f"_e{_decimal(layer.expand)}" if layer.expand else ""
    skip = (
        ("_skip" if layer.skip else "")
        if layer.kind == "cn"
        else ""
        if layer.skip or layer.kind == "dsa"
        else "_noskip"
    )
    act = _token(layer.act, {act: f"_{token}" for token, act in TIMM_ACTS.items()}, form, place)
    start, end = (f"a{layer.start}_", f"_p{layer.end}" if layer.end else "") if layer.kind == "uir" else ("", "")
    size = f"r{layer.repeat}_{start}k{layer.kernel}{end}_s{layer.stride}{expand}"
    groups = f"_gs{layer.group_size}" if layer.group_size is not None else ""
    return f"{layer.kind}_{size}{groups}_c{layer.width}{se}{act}{skip}"


def _token(act: str | None, tokens: Mapping[str, str], form: str, place: str) -> str:
    if act is not None and act not in tokens:
        raise ValueError(
            f"{place}.act: the {form} form has no token for {act}; as one of the defaults it can stand beside"
        )
    return tokens[act] if act else ""


def _decimal(value: float) -> str:
    return f"{value:.12f}".rstrip("0").rstrip(".")


def _check_equal(arch: Arch, back: Arch, form: str) -> None:
    ours, theirs = lower(arch), lower(back)
    for a, b in zip(ours.nodes, theirs.nodes, strict=False):
        if (a.op, a.inputs, a.shape, a.attrs) != (b.op, b.inputs, b.shape, b.attrs):
            became = f"{a.shape[2]} channels become {b.shape[2]}"
            raise ValueError(f"{arch.name}: {a.scope}: the {form} form cannot express it: {became}")
    if len(ours.nodes) != len(theirs.nodes):
        raise ValueError(f"{arch.name}: the {form} form cannot express it")
