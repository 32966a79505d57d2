"""Writes the pages of the API reference before a build: `nas` itself, then every package that says what is public.

A package is public where its `__init__` has `__all__`; the pages follow the code without a list to keep by hand. Files are
read, not imported, so that a package that cannot be imported on this machine is autodoc's error and nobody else's.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

PACKAGE = Path(__file__).resolve().parents[2] / "nas"
FOLDER = "reference/api"


def public_packages(root: Path = PACKAGE) -> dict[str, tuple[str, ...]]:
    """Module name -> its `__all__`, of `nas` and of every package in it that has one, in order of name."""
    found = {}
    for init in sorted(root.rglob("__init__.py")):
        module = ".".join((root.name, *init.parent.relative_to(root).parts))
        if names := public_names(init):
            found[module] = names
    return found


def public_names(path: Path) -> tuple[str, ...]:
    """What a module's `__all__` holds, where it is a plain list."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
            try:
                return tuple(ast.literal_eval(node.value))  # type: ignore[union-attr]
            except ValueError:
                return ()
    return ()


def facade(init: Path = PACKAGE / "__init__.py") -> dict[str, str]:
    """What `import nas` gives: name -> the module that it comes from, as type checkers read it."""
    found = {}
    for node in ast.walk(ast.parse(init.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("nas."):
            found |= {alias.name: node.module for alias in node.names if alias.asname == alias.name}
    return {name: module for name, module in found.items() if not name.startswith("_")}


def facade_page(names: dict[str, str]) -> str:
    """The page of `nas` itself: a table, then functions, results and values."""
    functions = [name for name in names if name.islower()]
    results = [name for name in names if not name.islower() and names[name].startswith("nas.workflows")]
    values = [name for name in names if name not in functions and name not in results]
    parts = ["``nas``\n=======\n\n.. currentmodule:: nas\n"]
    for title, members, directive in (
        ("Functions", functions, "autofunction"), ("Results", results, "autoclass"), ("Values", values, "autoclass"),
    ):  # fmt: skip
        rows = "".join(f"   {name}\n" for name in members)
        parts.append(f"{title}\n{'-' * len(title)}\n\n.. autosummary::\n   :nosignatures:\n\n{rows}")
        options = "   :members:\n   :undoc-members:\n" if directive == "autoclass" else ""
        for name in members:  # a package of that name has the entry in the index
            index = "   :no-index:\n" if (PACKAGE / name).is_dir() else ""
            parts.append(f".. {directive}:: nas.{name}\n{options}{index}")
    return "\n".join(parts)


def summary(path: Path) -> str:
    """The first line of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0] if text else ""


def page(module: str, names: tuple[str, ...], described: Collection[str] = ()) -> str:
    """A page: every public name with its docstring, but for those that the page of `nas` has."""
    title = f"``{module}``"
    elsewhere = [name for name in names if name in described]
    see = f"On the page of :doc:`nas`: {', '.join(f'``{name}``' for name in elsewhere)}.\n\n" if elsewhere else ""
    return (
        f"{title}\n{'=' * len(title)}\n\n{see}"
        f".. automodule:: {module}\n   :members: {', '.join(sorted(set(names) - set(elsewhere)))}\n"
        "   :imported-members:\n   :undoc-members:\n   :member-order: groupwise\n"
    )


def write_pages(app: Sphinx) -> None:
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    packages = public_packages()
    classes = [name for name in facade() if not name.islower()]
    pages = {f"{module}.rst": page(module, names, classes) for module, names in packages.items()}
    pages["nas.rst"] = facade_page(facade())
    rows = "".join(f"   {module}\n" for module in dict.fromkeys(("nas", *packages)))
    pages["index.rst"] = f"API reference\n=============\n\n{INTRODUCTION}\n.. toctree::\n   :maxdepth: 1\n\n{rows}"
    for old in folder.glob("*.rst"):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


INTRODUCTION = """\
``import nas`` gives everything that a search needs; it loads neither JAX nor Ray until you call something that uses them.
The packages below it are public where they are listed here. What is not listed may change between any two versions.
"""


SECTION = re.compile(
    r"^\s*(Args|Arguments|Returns|Raises|Yields|Attributes|Examples?|Notes?|References):\s*$", re.MULTILINE
)
CODE = re.compile(r"(`[^`]*`)")


def escape_sections(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Before napoleon reads sections: `*` and `|` in their text are themselves, examples without a prompt are code."""
    if not SECTION.search("\n".join(lines)):
        return
    found: list[str] = []
    section, literal = "", None
    for line in lines:
        if heading := SECTION.match(line):
            section, literal = heading[1], None
        elif section.startswith("Example") and line.strip() and literal is None:
            literal = not line.lstrip().startswith(">>>") and not line.rstrip().endswith("::")
            found += ["    ::", ""] if literal else []
        if section.startswith("Example"):
            found.append(f"    {line}" if literal and line.strip() else line)
        else:
            found.append(line if line.lstrip().startswith("*") else _escaped(line))
    lines[:] = found


def plain_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain English with `code` and indented code: what reStructuredText would misread is escaped."""
    if SECTION.search("\n".join(lines)) or any(line.lstrip().startswith((".. ", ":")) for line in lines):
        return  # napoleon's sections, or written for Sphinx
    found: list[str] = []
    inside = False
    for line in lines:
        code = line.startswith("    ")
        if code and not inside:
            found += ["", "::", ""]
        elif inside and not code and line:
            found += [""]
        inside = code or (inside and not line)
        found.append(line if code else _escaped(line))
    lines[:] = found


def _escaped(line: str) -> str:
    parts = CODE.split(line)
    text = "".join(p if p.startswith("`") else re.sub(r"([*|]|_(?!\w))", r"\\\1", p) for p in parts)
    return re.sub(r"(`[^`]+`)(?=s\b)", r"\1\\ ", text)  # `Update`s


def left_out(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Of a class its methods and properties are shown, with a docstring or without; fields stand in the signature."""
    shown = inspect.isroutine(obj) or isinstance(obj, property | cached_property | classmethod | staticmethod)
    return True if what == "class" and not shown else None


def bare_protocol(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, result: str | None
) -> tuple[str, str | None] | None:
    """A protocol is not called: it has no signature."""
    return ("", None) if what == "class" and getattr(obj, "_is_protocol", False) else None


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-skip-member", left_out)
    app.connect("autodoc-process-signature", bare_protocol)
    app.connect("autodoc-process-docstring", escape_sections, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", plain_docstring, priority=600)
    return {"version": "1", "parallel_read_safe": True}
