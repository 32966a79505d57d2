"""`arch=`: a name, a YAML file, or block strings; the strings may stand in a file too, under `blocks`, beside stem and head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.arch import Arch, mapping, shown
from nas.arch.blockstrings import FORMS, BlockStrings, looks_like, parse
from nas.arch.files import find_file, load_arch
from nas.core.settings import did_you_mean
from nas.core.yamlio import dump_yaml, read_yaml


def find_arch(arch: str) -> Arch:
    """The architecture that `arch=` names. Raises ValueError naming file and place, or the string and its token."""
    if looks_like(arch):
        return parse(arch, where="arch")
    path = find_file(arch)
    data = read_yaml(path)
    if not isinstance(data, Mapping) or "blocks" not in data:
        return load_arch(arch)
    form, text = _strings(data["blocks"], f"{path}: blocks")
    keys = {"name": path.stem, **{k: v for k, v in mapping(data, str(path)).items() if k != "blocks"}}
    if "stages" in keys:
        raise ValueError(f"{path}: has both blocks and stages; expected one of them")
    return parse(text, form, keys, str(path))


def _strings(blocks: Any, where: str) -> tuple[str | None, str]:
    """(form, strings) of `blocks: "ir_..,.."` or `blocks: {timm: ["ir_..", ".."]}`."""
    form = None
    if isinstance(blocks, Mapping):
        if len(blocks) != 1 or next(iter(blocks)) not in FORMS:
            wrong = next((str(key) for key in blocks if key not in FORMS), "both forms")
            raise ValueError(f"{where}: expected one of {', '.join(FORMS)}, got {shown(wrong)}{did_you_mean(wrong, FORMS)}")
        ((form, blocks),) = blocks.items()
    listed = blocks if isinstance(blocks, list) else [blocks]
    if not listed or not all(isinstance(text, str) for text in listed):
        raise ValueError(f"{where}: expected block strings, got {shown(blocks)}")
    return form, ",".join(listed)


def strings_yaml(strings: BlockStrings) -> str:
    """The file that `find_arch` reads back: the keys, and a string a stage."""
    keys = dict(strings.keys)
    head = keys.pop("head")
    text = dump_yaml(keys)
    rows = "".join(f"    - {'+'.join(stage)}\n" for stage in strings.strings)
    return f"{text}blocks:\n  {strings.form}:\n{rows}{dump_yaml({'head': head})}"
