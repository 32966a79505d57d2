"""YAML in and out, bounded: no tags, no code, no alias bombs, nothing over a megabyte; files are replaced, never half-written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES, MAX_NODES, MAX_DEPTH, MAX_OPEN = 1_000_000, 100_000, 60, 1000
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> Any:
    """Reads a YAML file.

    Args:
        path: A file of at most `MAX_BYTES`.

    Returns:
        Plain data.

    Raises:
        ValueError: One line that names the file and, if known, the line in it.
    """
    try:
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ValueError(f"{path}: {size / 1e6:.0f} MB of YAML; files of up to {MAX_BYTES / 1e6:.0f} MB are read")
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None


def parse_yaml(text: str, where: str) -> Any:
    """Parses YAML text.

    Args:
        text: One document.
        where: Place that errors name.

    Returns:
        Plain data.

    Raises:
        ValueError: One line that begins with `where`.
    """
    if _depth(text) > MAX_OPEN:
        raise ValueError(f"{where}: nested too deeply")
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise ValueError(f"{where}: the file is empty")
        if _count(node, {}, 0) > MAX_NODES:
            raise ValueError(f"{where}: more than {MAX_NODES} values once its aliases are written out")
        return _construct(loader, node, where)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
        raise ValueError(f"{where}:{line} not YAML: {problem}") from None
    except RecursionError:
        raise ValueError(f"{where}: nested too deeply") from None
    finally:
        loader.dispose()


def _construct(loader: yaml.SafeLoader, node: yaml.Node, where: str) -> object:
    try:
        return loader.construct_document(node)
    except (TypeError, AttributeError, OverflowError, ValueError):  # such as a number of a million digits, or a 13th month
        raise ValueError(f"{where}: a value that is no plain YAML") from None


def _depth(text: str) -> int:
    """An upper bound of how deeply it nests: the parser written in C would overflow the stack, and nothing catches that."""
    flow = most = 0
    for character in re.findall(r"[\[\]{}]", text):
        flow += 1 if character in "[{" else -1
        most = max(most, flow)
    block = max((len(line) - len(line.lstrip(" -?:")) for line in text.splitlines()), default=0)
    return most + block


def _count(node: yaml.Node, seen: dict[int, int], depth: int) -> int:
    """Number of values under a node with every alias written out, each node visited once."""
    if depth > MAX_DEPTH:
        raise RecursionError
    if id(node) not in seen:
        seen[id(node)] = MAX_NODES + 1  # an alias to a parent never ends
        children = list(node.value) if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        seen[id(node)] = min(1 + sum(_count(child, seen, depth + 1) for child in children), MAX_NODES + 1)
    return seen[id(node)]


class _Dumper(yaml.SafeDumper):
    """Blocks on a line of their own: short mappings and lists in flow style, as one writes them by hand."""


def dump_yaml(data: Mapping[str, object], comment: str = "") -> str:
    """Formats a mapping as YAML; a value without nested mappings is written on one line.

    Args:
        data: Plain data.
        comment: Lines to put at the top, each after `# `.

    Returns:
        The text.
    """
    lines = [f"# {line}" for line in comment.splitlines()]
    for key, value in data.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lines += [f"{key}:", *(f"  - {_flow(item)}" for item in value)]
        else:
            lines.append(f"{key}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def _flow(value: object) -> str:
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, width=10**9, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def write_text(path: Path, text: str) -> None:
    """Replaces a file in one step: a reader sees the old or the new content.

    Args:
        path: The file, in an existing folder.
        text: Its content.

    Raises:
        ValueError: The file cannot be written.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))  # names of files need not be UTF-8


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_text`, of bytes."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ValueError(f"{path}: {error.strerror}") from None


def dump_plain(data: object) -> str:
    """YAML text of plain data in block style, for settings."""
    return yaml.dump(data, Dumper=_Dumper, default_flow_style=False, sort_keys=False, allow_unicode=True)
