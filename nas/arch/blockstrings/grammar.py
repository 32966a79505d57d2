"""What a block string says, and the reading of one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nas.arch import MAX_LAYERS, MAX_WIDTH, shown

TIMM_TYPES = ("ir", "ds", "dsa", "cn", "er", "uir")
FOREIGN_TYPES = {
    "mha": "multi-head attention",
    "mqa": "multi-query attention",
}
TIMM_ACTS = {"nre": "relu", "nr6": "relu6", "nhs": "hswish", "nsw": "swish"}
TF_ACTS = {"0": "relu", "1": "swish"}
TF_TOKENS = ("r", "k", "s", "e", "i", "o", "se", "c", "f", "a", "d")
TIMM_TOKENS = ("r", "k", "s", "e", "c", "se", "fc", "a", "p", "gs", "i", "o", "d", "skip", "noskip", *TIMM_ACTS)
FORMS = ("tf", "timm")
FOREIGN_TOKENS = {"cc": "CondConv", "sw": "MixNet's swish flag", "dilated": "MixNet's dilation", "gs": "a group size",
                  "nmi": "the activation mish", "h": "attention heads", "v": "attention's stride"}  # fmt: skip


@dataclass(frozen=True)
class LayerString:
    """What a string says of one layer; `kind` is timm's type, `given` the declared input width (TF).

    `start`, `kernel` and `end` are the depthwise kernels of `uir`, 0 where there is none.
    """

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
    start: int = 0
    end: int = 0
    group_size: int | None = None


def looks_like(text: str) -> bool:
    """Whether a text is meant as block strings, not as a name or a path."""
    types = "|".join((*TIMM_TYPES, *FOREIGN_TYPES))
    return re.match(rf"({types})_[a-z]+\d|r\d+_[a-z]", text) is not None


def form_of(text: str) -> str:
    return "tf" if re.match(r"\s*[a-z]+\d", text) else "timm"


def read_string(string: str, form: str, where: str) -> LayerString:
    place = f"{where}: {shown(string)}"
    if len(string) > 200 or not string:
        raise ValueError(f"{place}: expected a block string such as ir_r2_k3_s2_e6_c24 or r2_k3_s22_e6_i16_o24")
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
            raise ValueError(
                f"{place}: {part}: {FOREIGN_TOKENS.get(name) or FOREIGN_TOKENS[part]} is not among our blocks"
            )
        elif form == "tf" and name == "p":
            raise ValueError(f"{place}: {part}: MixNet's grouped projection is not among our blocks")
        else:
            raise ValueError(f"{place}: unknown token {shown(part)}")


def _tf_layer(tokens: Mapping[str, str], place: str) -> LayerString:
    stride = tokens.get("s", "")
    if len(stride) == 2 and stride[0] == stride[1]:
        stride = stride[0]
    if tokens.get("a") not in (None, *TF_ACTS):
        raise ValueError(
            f"{place}: a{tokens['a']}: expected a0 (ReLU) or a1 (swish); MixNet's expansions are not among our blocks"
        )
    fused = {_int(tokens, key, place, 0, 1, default=0) for key in ("c", "f")} == {0, 1} or tokens.get("c") == "1"
    _int(tokens, "d", place, 0, 0, default=0)
    expand = float(_int(tokens, "e", place, 1, 64))
    return LayerString(
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


def _timm_layer(kind: str, tokens: Mapping[str, str], place: str) -> LayerString:
    acts = [name for name in TIMM_ACTS if name in tokens]
    if len(acts) > 1 or ("skip" in tokens and "noskip" in tokens):
        raise ValueError(f"{place}: two tokens that contradict each other")
    for key, what in (("a", "expansion"), ("p", "projection")):
        if kind != "uir" and tokens.get(key, "1") != "1":
            raise ValueError(f"{place}: {key}{tokens[key]}: MixNet's grouped 1x1 {what} is not among our blocks")
    if tokens.get("d", "0") != "0":
        raise ValueError(f"{place}: d{tokens['d']}: EfficientNet-X's space to depth is not among our blocks")
    for key in ("i", "o"):
        _int(tokens, key, place, 1, MAX_WIDTH, default=1)
    if "se" in tokens and kind == "cn":
        raise ValueError(f"{place}: se{tokens['se']}: cn has no squeeze-excite in the timm form")
    if "gs" in tokens and kind in ("cn", "uir"):
        raise ValueError(f"{place}: gs{tokens['gs']}: {kind} has no group size among our blocks")
    if "fc" in tokens and kind != "er":
        raise ValueError(f"{place}: fc{tokens['fc']}: only er has forced input channels")
    needed = kind in ("ir", "er", "uir")
    low = 0 if kind == "uir" else 1
    return LayerString(
        kind=kind,
        kernel=_kernel(tokens, place, low),
        expand=_float(tokens, "e", place, None if needed else 0.0) or None,
        width=_int(tokens, "c", place, 1, MAX_WIDTH),
        se=_float(tokens, "se", place, 0.0),
        act=TIMM_ACTS[acts[0]] if acts else None,
        skip="skip" in tokens if kind == "cn" else "noskip" not in tokens,
        repeat=_int(tokens, "r", place, 1, MAX_LAYERS),
        stride=_int(tokens, "s", place, 1, 9),
        hidden_of=_int(tokens, "fc", place, 1, MAX_WIDTH) if "fc" in tokens else None,
        start=_int(tokens, "a", place, 0, 31, default=0) if kind == "uir" else 0,
        end=_int(tokens, "p", place, 0, 31, default=0) if kind == "uir" else 0,
        group_size=_int(tokens, "gs", place, 0, MAX_WIDTH) if "gs" in tokens else None,
    )


def _kernel(tokens: Mapping[str, str], place: str, low: int = 1) -> int:
    if "." in tokens.get("k", ""):
        raise ValueError(f"{place}: k{tokens['k']}: MixNet's mixed kernels are not among our blocks")
    return _int(tokens, "k", place, low, 31)


def _int(tokens: Mapping[str, str], key: str, place: str, low: int, high: int, default: int | None = None) -> int:
    if key not in tokens:
        if default is None:
            raise ValueError(f"{place}: missing token {key!r}")
        return default
    text = tokens[key]
    if not re.fullmatch(r"\d{1,6}", text) or not low <= int(text) <= high:
        expected = f"{key}{low}" if low == high else f"{key} and a whole number from {low} to {high}"
        raise ValueError(f"{place}: {key}{text}: expected {expected}")
    return int(text)


def _float(tokens: Mapping[str, str], key: str, place: str, default: float | None) -> float:
    if key not in tokens:
        if default is None:
            raise ValueError(f"{place}: missing token {key!r}")
        return default
    if not re.fullmatch(r"\d{1,3}(\.\d{1,20})?", tokens[key]):
        raise ValueError(f"{place}: {key}{tokens[key]}: expected {key} and a number")
    return float(tokens[key])
