"""The report of a run, from its journal alone: a page, a front as CSV and YAML, JSON, text, and one picture.

    with Journal.open("runs/default/journal.sqlite", read_only=True) as journal:
        print(front_text(summarize(journal)))
        write_outputs(Path("runs/default"), journal)
"""

from nas.report.compare import compare, compared
from nas.report.files import report_json, write_outputs
from nas.report.front import FrontRow
from nas.report.html import page
from nas.report.plots import Reference, front_svg
from nas.report.scaled import with_scaled
from nas.report.seeds import Group, mean_text
from nas.report.summary import Summary, summarize
from nas.report.text import front_text

__all__ = [
    "FrontRow",
    "Group",
    "Reference",
    "Summary",
    "compare",
    "compared",
    "front_svg",
    "front_text",
    "mean_text",
    "page",
    "report_json",
    "summarize",
    "with_scaled",
    "write_outputs",
]
