"""`arch=`: a name, a YAML file, or block strings; a file may hold strings too, under `blocks`, beside stem and head."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nas.arch import Arch, as_name, mapping, shown
from nas.arch.blockstrings import FORMS, BlockStrings, looks_like, parse
from nas.arch.files import arch_of, find_file
from nas.arch.multipliers import depth_multiplier, width_multiplier
from nas.core.settings import did_you_mean
from nas.core.yamlio import dump_yaml, read_yaml


def find_arch(
    arch: str | Path | Mapping[str, object] | Arch, key: str = "", *, width: float | None = None, depth: float | None = None
) -> Arch:
    """An architecture.

    Args:
        arch: the name of one that comes with nas, the path of a YAML file, block strings (see `nas.arch.blockstrings`), the
            content of a YAML file, or an `Arch`, which is returned as it is.
        key: the setting that it is the value of, with which the error for an unknown name begins.
        width: multiplies widths; None: as written. Of block strings in place of what `scale` beside them says.
        depth: multiplies the layers of each stage, likewise.

    Raises:
        ValueError: one line that names file and place, or the string and its token, or the nearest name.

    Example:
        >>> find_arch("ds_r1_k3_s1_e1_c16_noskip,ir_r2_k3_s2_e6_c24").stages[1].repeat
        2
    """
    factors = {key: value for key, value in (("width", width), ("depth", depth)) if value is not None}
    if isinstance(arch, Arch):
        return _multiplied(arch, factors)
    if isinstance(arch, Mapping):
        return _from_data(arch, "arch", factors)
    text = str(arch)
    if looks_like(text):
        return parse(text, keys={"scale": factors}, where="arch")
    path = find_file(text, key=key)
    return _from_data(mapping(read_yaml(path), str(path)), str(path), factors, as_name(path.stem))


def _multiplied(arch: Arch, factors: Mapping[str, float]) -> Arch:
    wider = width_multiplier(arch, factors["width"]) if "width" in factors else arch
    return depth_multiplier(wider, factors["depth"]) if "depth" in factors else wider


def _from_data(data: Mapping[str, object], where: str, factors: Mapping[str, float], name: str = "arch") -> Arch:
    if "blocks" not in data:
        return _multiplied(arch_of(data, where, name), factors)
    if "stages" in data:
        raise ValueError(f"{where}: expected either blocks or stages, got both")
    form, text = _strings(data["blocks"], f"{where}: blocks")
    keys = {"name": name, **{k: v for k, v in data.items() if k != "blocks"}}
    scale = keys.get("scale") or {}
    if factors and isinstance(scale, Mapping):
        keys["scale"] = {**scale, **factors}
    return parse(text, form, keys, where)


def _strings(blocks: object, where: str) -> tuple[str | None, str]:
    """(form, strings) of `blocks: "ir_..,.."` or `blocks: {timm: ["ir_..", ".."]}`."""
    form = None
    if isinstance(blocks, Mapping):
        if len(blocks) != 1 or next(iter(blocks)) not in FORMS:
            wrong = next((str(key) for key in blocks if key not in FORMS), "both forms")
            raise ValueError(f"{where}: expected one of {', '.join(FORMS)}, got {shown(wrong)}{did_you_mean(wrong, FORMS)}")
        ((form, blocks),) = blocks.items()
    listed = blocks if isinstance(blocks, list) else [blocks]
    texts = [text for text in listed if isinstance(text, str)]
    if not listed or len(texts) < len(listed):
        raise ValueError(f"{where}: expected block strings, got {shown(blocks)}")
    return form, ",".join(texts)


def strings_yaml(strings: BlockStrings) -> str:
    """The file that `find_arch` reads back: the keys, and a string a stage."""
    keys = dict(strings.keys)
    head = keys.pop("head")
    text = dump_yaml(keys)
    rows = "".join(f"    - {'+'.join(stage)}\n" for stage in strings.strings)
    return f"{text}blocks:\n  {strings.form}:\n{rows}{dump_yaml({'head': head})}"
