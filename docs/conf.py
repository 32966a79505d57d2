"""Sphinx settings. `make docs` builds the site into docs/_build/html, offline, with warnings as errors."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE / "_ext"), str(ROOT)]

_project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "nas").rglob("*.py"))

project = "nas"
author = "The nas authors"
copyright = "The nas authors, Apache-2.0"
release = version = re.search(r'^__version__ = "(.+)"', _sources, re.MULTILINE)[1]  # type: ignore[index]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "api_reference",
    "config_reference",
]
exclude_patterns = ["_build", "_ext"]
nitpicky = True
# Types in signatures belong to libraries whose inventories are on the network, or to modules that are not public.
nitpick_ignore_regex = [("py:.*", ".*")]

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
suppress_warnings = ["myst.xref_missing"] if "linkcheck" in sys.argv else []

extlinks = {"source": (f"{_project['urls']['Repository']}/blob/main/%s", "%s")}
default_role = "code"  # docstrings write `name` for code
napoleon_use_ivar = True  # attributes of a protocol are properties of it too
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
autosummary_generate = False  # api_reference writes the pages
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
add_module_names = False

copybutton_exclude = ".linenos, .gp"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"nas {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "source_view_link": f"{_project['urls']['Repository']}/blob/main/docs/{{filename}}",
    "light_css_variables": {"color-brand-primary": "#1f6f8b", "color-brand-content": "#1f6f8b"},
    "dark_css_variables": {"color-brand-primary": "#6fc3df", "color-brand-content": "#6fc3df"},
}
html_context = {"repository": _project["urls"]["Repository"]}
pygments_style = "friendly"
pygments_dark_style = "monokai"
