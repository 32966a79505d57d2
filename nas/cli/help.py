"""`nas <command> --help`: usage, the choices with a line each, and the keys with their defaults and comments."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from nas.arch.files import space_names
from nas.cli.hydra_door import choices, load_named_plugins
from nas.core.paths import CONF

if TYPE_CHECKING:
    from nas.cli.commands import Command


def command_help(name: str, command: Command, args: list[str]) -> str:
    """The help of a command; plugins named in `args` are listed among the choices."""
    load_named_plugins(args)
    text = (CONF / f"{name}.yaml").read_text(encoding="utf-8")
    groups, keys = _groups(text), _keys(text)
    parts = [f"nas {name}: {command.summary}", f"usage: nas {name} [key=value ...] [--cfg job] [-m]"]
    parts.append("examples:\n" + "\n".join(f"  {example}" for example in command.examples))
    if groups:
        parts.append("choices (group=name):\n" + "\n".join(_group(group, default) for group, default in groups.items()))
    if "space" in keys:
        parts.append("spaces (space=name, or space=<path of a YAML file>):\n" + _spaces())
    parts.append("keys and their defaults:\n" + "\n".join(f"  {line}" for line in keys.strip().splitlines()))
    if groups:
        keyed = ", ".join(f"{group}.<key>" for group in groups)
        parts.append(
            f"Keys of a choice are {keyed}.\n"
            f"conf/<group>/<name>.yaml explains them, `nas {name} --cfg job` shows them all with their values."
        )
    return "\n\n".join(parts)


def _groups(text: str) -> dict[str, str]:
    """group -> default choice, from the defaults list of a command's YAML."""
    inside, found = False, {}
    for line in text.splitlines():
        if line.startswith("defaults:"):
            inside = True
        elif inside and line.startswith("  - ") and ":" in line:
            group, _, choice = line[4:].partition(":")
            found[group.strip()] = choice.split("#")[0].strip(" []")
        elif inside and line and not line.startswith(" "):
            break
    return found


def _keys(text: str) -> str:
    """The YAML without its opening comment and defaults list: comments are the explanation."""
    body, inside = [], True
    for line in text.splitlines():
        if inside and (line.startswith(("#", "defaults:", "  - ")) or not line.strip()):
            continue
        inside = False
        body.append(line)
    return "\n".join(body)


def _group(group: str, default: str) -> str:
    names = choices(group)
    width = max([len(name) for name in names], default=0)
    rows = [
        _row(f"    {name:<{width}}  ", _summary(CONF / group / f"{name}.yaml") + (" (default)" if name == default else ""))
        for name in names
    ]
    return "\n".join([f"  {group}", *rows])


def _spaces() -> str:
    files = {name: path for name, path in space_names().items() if path.parent.name != "reference"}
    references = [name for name in space_names() if name not in files]
    width = max(len(name) for name in files)
    rows = [_row(f"  {name:<{width}}  ", _summary(path)) for name, path in files.items()]
    listed = textwrap.wrap("and the architectures " + ", ".join(references), 116, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(rows + (listed if references else []))


def _row(start: str, text: str) -> str:
    """A name and its sentence, whose further lines stand below the first."""
    return textwrap.fill(text, 120, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False)


def _summary(path: Path) -> str:
    """The first sentence of a file's opening comment, after what Hydra reads there."""
    if not path.is_file():
        return "from a plugin"
    tokens: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        tokens += [] if line.startswith("# @package") else line.lstrip("#").split()
    return re.split(r"(?<=[a-z)\]0-9])(?<!et al)(?<!e\.g)(?<!i\.e)(?<! vs)[.:;](?= |$)", " ".join(tokens), maxsplit=1)[0]
