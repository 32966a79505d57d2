"""Architectures as block strings, in TensorFlow's form and in timm's, both ways.

    parse("r1_k3_s11_e1_i32_o16_noskip,r2_k3_s22_e6_i16_o24")          # tensorflow/tpu: mnasnet, efficientnet; google/automl
    parse("ds_r1_k3_s1_e1_c16_noskip,ir_r2_k3_s2_e6_c24_se0.25_nre")   # timm, efficientnet-jax
    format(arch, "timm").text

A comma separates stages, a plus strings of one stage. What strings do not say stands beside them as `keys`, in the words of
an architecture's file: name, resolution, stem, head, defaults and the rest. Every token is read or refused by name.

Where the two forms or their readers differ: TF rounds nothing, timm rounds expansions to multiples of 8; `ir` in timm expands
even at e1, MBConv in TF does not; TF's residual asks for the declared input width (`i`), not the real one. `ds` and `cn`,
which ignore `e` in timm, tell MBConv (`e1`) from a separable convolution and fused MBConv (`e1`) from a plain one here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.arch import MAX_LAYERS, MAX_STAGES, MAX_WIDTH, Arch, Block, Stage, arch_from_dict, shown
from nas.blocks import lower, make_divisible, resolve

TIMM_TYPES = ("ir", "ds", "dsa", "cn", "er")
FOREIGN_TYPES = {
    "uir": "MobileNetV4's universal inverted bottleneck",
    "mha": "multi-head attention",
    "mqa": "multi-query attention",
    "ca": "a block of condensed attention",
}
TIMM_ACTS = {"nre": "relu", "nr6": "relu6", "nhs": "hswish", "nsw": "swish"}
TF_ACTS = {"0": "relu", "1": "swish"}
TF_TOKENS = ("r", "k", "s", "e", "i", "o", "se", "c", "f", "a", "d")
TIMM_TOKENS = ("r", "k", "s", "e", "c", "se", "fc", "a", "p", "i", "o", "d", "skip", "noskip", *TIMM_ACTS)
FORMS = ("tf", "timm")
FOREIGN_TOKENS = {"cc": "CondConv", "sw": "MixNet's swish flag", "dilated": "MixNet's dilation", "gs": "a group size",
                  "nmi": "the activation mish", "h": "attention heads", "v": "attention's stride"}  # fmt: skip


@dataclass(frozen=True)
class BlockStrings:
    """`strings`, stage by stage, and all else of the architecture's file as `keys`."""

    form: str
    strings: tuple[tuple[str, ...], ...]
    keys: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return ",".join("+".join(stage) for stage in self.strings)


@dataclass(frozen=True)
class _Layer:
    """What a string says of one layer; `kind` is timm's type, `given` the declared input width (TF)."""

    kind: str
    kernel: int
    expand: float | None
    width: int
    se: float
    act: str | None
    skip: bool
    repeat: int = 1
    stride: int = 1
    given: int | None = None
    hidden_of: int | None = None


def looks_like(text: str) -> bool:
    """Whether a text is meant as block strings, not as a name or a path."""
    types = "|".join((*TIMM_TYPES, *FOREIGN_TYPES))
    return re.match(rf"({types})_[a-z]+\d|r\d+_[a-z]", text) is not None


def form_of(text: str) -> str:
    return "tf" if re.match(r"\s*[a-z]+\d", text) else "timm"


def parse(text: str, form: str | None = None, keys: Mapping[str, Any] | None = None, where: str = "blocks") -> Arch:
    """The architecture that strings and keys describe.

    Without keys: 224 pixels, a stem of 3x3, stride 2 and 32 channels (TF: the first `i`), a head of 1280. Raises ValueError
    naming the string and its token.
    """
    form = form or form_of(text)
    if form not in FORMS:
        raise ValueError(f"{where}: wanted form {' or '.join(FORMS)}, got {shown(form)}")
    stages = [[_read(s.strip(), form, where) for s in stage.split("+")] for stage in text.split(",")]
    if len(stages) > MAX_STAGES or sum(layer.repeat for stage in stages for layer in stage) > MAX_LAYERS:
        raise ValueError(f"{where}: more than {MAX_STAGES} stages or {MAX_LAYERS} layers")
    data = {"name": "blocks", "resolution": 224, "head": {"op": "classifier", "width": 1280}, **(keys or {})}
    data.setdefault("stem", {"op": "conv", "kernel": 3, "stride": 2, "width": stages[0][0].given or 32})
    defaults = dict(data.get("defaults", {}))
    if form == "timm":
        data["defaults"] = {"divisor": 8, **defaults}
    skeleton = arch_from_dict({**data, "stages": [{"op": "identity"}]}, where)
    fn, knobs = resolve(skeleton.stem, dict(skeleton.defaults), f"{where}: stem")
    del fn
    width, built = knobs.get("width") or skeleton.channels, []
    for stage, strings in zip(stages, text.split(","), strict=True):
        layers = []
        for i, read in enumerate(stage):
            if i and read.stride != 1:
                raise ValueError(f"{where}: {strings.split('+')[i]!r}: only a stage's first string may have a stride")
            for j in range(read.repeat):
                layers.append(_block(read, width, form, first=j == 0))
                width = read.width
        built.append(Stage(tuple(layers), stage[0].stride))
    arch = Arch(**{**{f: getattr(skeleton, f) for f in skeleton.__dataclass_fields__}, "stages": tuple(built)})
    lower(arch, where)
    return arch


def _read(string: str, form: str, where: str) -> _Layer:
    place = f"{where}: {shown(string)}"
    if len(string) > 200 or not string:
        raise ValueError(f"{place}: wanted a block string such as ir_r2_k3_s2_e6_c24 or r2_k3_s22_e6_i16_o24")
    parts = string.split("_")
    kind = "ir"
    if form == "timm":
        kind, parts = parts[0], parts[1:]
        if kind in FOREIGN_TYPES:
            raise ValueError(f"{place}: {kind}: {FOREIGN_TYPES[kind]} is not among our blocks")
        if kind not in TIMM_TYPES:
            raise ValueError(f"{place}: {shown(kind)}: unknown block type; known: {', '.join(TIMM_TYPES)}")
    tokens = dict(_tokens(parts, form, place))
    if len(tokens) < len(parts):
        raise ValueError(f"{place}: a token stands twice")
    return _tf_layer(tokens, place) if form == "tf" else _timm_layer(kind, tokens, place)


def _tokens(parts: Sequence[str], form: str, place: str) -> Iterator[tuple[str, str]]:
    known = TF_TOKENS if form == "tf" else TIMM_TOKENS
    for part in parts:
        name = part if part in ("skip", "noskip", *TIMM_ACTS) else re.split(r"[\d.]", part, maxsplit=1)[0]
        if part == "noskip" or (name in known and not (form == "tf" and part in TIMM_ACTS)):
            yield name, part[len(name) :]
        elif name in FOREIGN_TOKENS or part in FOREIGN_TOKENS:
            raise ValueError(f"{place}: {part}: {FOREIGN_TOKENS.get(name) or FOREIGN_TOKENS[part]} is not among our blocks")
        elif form == "tf" and name == "p":
            raise ValueError(f"{place}: {part}: MixNet's grouped projection is not among our blocks")
        else:
            raise ValueError(f"{place}: unknown token {shown(part)}")


def _tf_layer(tokens: Mapping[str, str], place: str) -> _Layer:
    stride = tokens.get("s", "")
    if len(stride) == 2 and stride[0] == stride[1]:
        stride = stride[0]
    if tokens.get("a") not in (None, *TF_ACTS):
        raise ValueError(f"{place}: a{tokens['a']}: wanted a0 (ReLU) or a1 (swish); MixNet's expansions are not among our blocks")
    fused = {_int(tokens, key, place, 0, 1, default=0) for key in ("c", "f")} == {0, 1} or tokens.get("c") == "1"
    _int(tokens, "d", place, 0, 0, default=0)
    expand = float(_int(tokens, "e", place, 1, 64))
    return _Layer(
        kind=("er" if expand != 1 else "cn") if fused else ("ds" if expand == 1 else "ir"),
        kernel=_kernel(tokens, place),
        expand=expand,
        width=_int(tokens, "o", place, 1, MAX_WIDTH),
        se=_float(tokens, "se", place, 0.0),
        act=TF_ACTS[tokens["a"]] if "a" in tokens else None,
        skip="noskip" not in tokens,
        repeat=_int(tokens, "r", place, 1, MAX_LAYERS),
        stride=_int({"s": stride}, "s", place, 1, 9),
        given=_int(tokens, "i", place, 1, MAX_WIDTH),
    )


def _timm_layer(kind: str, tokens: Mapping[str, str], place: str) -> _Layer:
    acts = [name for name in TIMM_ACTS if name in tokens]
    if len(acts) > 1 or ("skip" in tokens and "noskip" in tokens):
        raise ValueError(f"{place}: two tokens that contradict each other")
    for key in ("a", "p"):
        _int(tokens, key, place, 1, 1, default=1)
    _int(tokens, "d", place, 0, 0, default=0)
    for key in ("i", "o"):
        _int(tokens, key, place, 1, MAX_WIDTH, default=1)
    if "fc" in tokens and kind != "er":
        raise ValueError(f"{place}: fc{tokens['fc']}: only er has forced input channels")
    needed = kind in ("ir", "er")
    return _Layer(
        kind=kind,
        kernel=_kernel(tokens, place),
        expand=_float(tokens, "e", place, None if needed else 0.0) or None,
        width=_int(tokens, "c", place, 1, MAX_WIDTH),
        se=_float(tokens, "se", place, 0.0),
        act=TIMM_ACTS[acts[0]] if acts else None,
        skip="skip" in tokens if kind == "cn" else "noskip" not in tokens,
        repeat=_int(tokens, "r", place, 1, MAX_LAYERS),
        stride=_int(tokens, "s", place, 1, 9),
        hidden_of=_int(tokens, "fc", place, 1, MAX_WIDTH) if "fc" in tokens else None,
    )


def _kernel(tokens: Mapping[str, str], place: str) -> int:
    if "." in tokens.get("k", ""):
        raise ValueError(f"{place}: k{tokens['k']}: MixNet's mixed kernels are not among our blocks")
    return _int(tokens, "k", place, 1, 31)


def _int(tokens: Mapping[str, str], key: str, place: str, low: int, high: int, default: int | None = None) -> int:
    if key not in tokens:
        if default is None:
            raise ValueError(f"{place}: misses the token {key}")
        return default
    text = tokens[key]
    if not re.fullmatch(r"\d{1,6}", text) or not low <= int(text) <= high:
        wanted = f"{key}{low}" if low == high else f"{key} and a whole number from {low} to {high}"
        raise ValueError(f"{place}: {key}{text}: wanted {wanted}")
    return int(text)


def _float(tokens: Mapping[str, str], key: str, place: str, default: float | None) -> float:
    if key not in tokens:
        if default is None:
            raise ValueError(f"{place}: misses the token {key}")
        return default
    if not re.fullmatch(r"\d{1,3}(\.\d{1,20})?", tokens[key]):
        raise ValueError(f"{place}: {key}{tokens[key]}: wanted {key} and a number")
    return float(tokens[key])


def _block(read: _Layer, width: int, form: str, first: bool) -> Block:
    knobs: dict[str, Any] = {"width": read.width, "kernel": read.kernel}
    if read.se:
        knobs["se"] = read.se
    if read.act:
        knobs["act"] = read.act
    declared = first and read.given not in (None, width) and read.width == width
    skip = read.skip and not declared
    if read.kind == "dsa":
        return Block.of("sepconv", **knobs, project_act=read.act or "relu", skip="none")
    if read.kind in ("ds", "cn") and read.expand != 1:
        plain = {"ds": "none", "cn": "identity"}[read.kind]
        knobs |= {"skip": plain} if skip == (read.kind == "cn") else {}
        return Block.of("sepconv" if read.kind == "ds" else "conv", **knobs)
    if not skip:
        knobs["skip"] = "none"
    if read.hidden_of and read.expand:
        hidden = knobs["hidden"] = make_divisible(read.hidden_of * read.expand, 8)
    else:
        knobs["expand"] = _whole(read.expand or 1.0)
        hidden = make_divisible(width * knobs["expand"], 8) if form == "timm" else round(width * knobs["expand"])
    if read.kind in ("ir", "er") and hidden == width and form == "timm":
        knobs["force_expand"] = True
    return Block.of("fused_mbconv" if read.kind in ("er", "cn") else "mbconv", **knobs)


def _whole(ratio: float) -> float:
    return int(ratio) if ratio == int(ratio) else ratio


def format(arch: Arch, form: str) -> BlockStrings:
    """The strings of an architecture. Raises ValueError naming the layer that the form cannot express."""
    if form not in FORMS:
        raise ValueError(f"{arch.name}: wanted form {' or '.join(FORMS)}, got {shown(form)}")
    _, knobs = resolve(arch.stem, dict(arch.defaults), f"{arch.name}: stem")
    width, stages = knobs.get("width") or arch.channels, []
    for i, stage in enumerate(arch.stages):
        runs: list[list[Any]] = []
        for j, block in enumerate(stage.layers):
            place = f"{arch.name}: stages[{i}].layers[{j}]"
            written, out = _written(block, dict(arch.defaults), width, form, place)
            if runs and runs[-1][0] == written:
                runs[-1][1] += 1
            else:
                runs.append([written, 1, stage.stride if j == 0 else 1, width])
            width = out
        stages.append(tuple(_string(*run, form) for run in runs))
    keys = {k: v for k, v in arch.to_dict().items() if k != "stages"}
    strings = BlockStrings(form, tuple(stages), keys)
    _compare(arch, parse(strings.text, form, keys, arch.name), form)
    return strings


def _written(block: Block, defaults: Mapping[str, Any], width: int, form: str, place: str) -> tuple[tuple[str, str, str], int]:
    """The type, the tokens before and the tokens after the widths of one layer, and its output width."""
    if block.op not in ("mbconv", "fused_mbconv", "sepconv", "conv"):
        raise ValueError(f"{place}: the {form} form has no block for {block.op}")
    _, knobs = resolve(block, defaults, place)
    _, plain = resolve(Block.of(block.op, **_needed(block)), defaults, place)
    told = {"width", "kernel", "expand", "hidden", "act", "se", "se_width", "skip", "force_expand", "project_act"}
    for name, value in block.knobs:
        if name not in told and value != plain.get(name, _default(block.op, name)):
            raise ValueError(f"{place}.{name}: the {form} form has no token for it; defaults can hold it for every layer")
    full = {name: knobs.get(name, _default(block.op, name)) for name in _names(block.op)}
    kind, expand = _kind(block.op, full, width, form, place)
    e = "" if expand is None else f"_e{_short(expand, lambda r: _expanded(r, width, form) == _expanded(expand, width, form))}"
    return (kind, f"k{full['kernel']}_s@{e}", _tail(block, full, kind, width, form, place)), full["width"]


def _needed(block: Block) -> dict[str, Any]:
    return {name: value for name, value in block.knobs if name in ("width", "expand", "hidden")}
