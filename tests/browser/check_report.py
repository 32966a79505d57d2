"""Opens a report in headless Chromium: points, hover, keyboard, sorting and both color schemes; leaves screenshots.

    python tests/browser/check_report.py [runs/<name>/report.html] [--out folder]

Without a report it makes one from made-up trials. Not part of `make test`, since machines for that have no browser.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers"), str(Path(__file__).parent)]

from devtools import Browser  # noqa: E402

from nas.report import Reference, page, summarize  # noqa: E402
from report_makers import HOST, fill, measure, new_journal, score_on_test  # noqa: E402

MEMBERS = "[...document.querySelectorAll('svg.plot .front[tabindex]')]"
WIDTH = 1280


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", nargs="?", type=Path, help="a report.html; by default one of made-up trials")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "nas-report", help="folder of the screenshots")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    report = options.report or made_up(options.out)
    if not report.is_file():
        parser.error(f"no report at {report}")
    with Browser(WIDTH, 900) as browser:
        browser.open(report)
        checks = [points, hover, keyboard, sorting]
        failed = [f"{check.__name__}: {problem}" for check in checks for problem in check(browser)]
        for scheme in ("light", "dark"):
            shoot(browser, scheme, options.out / f"report-{scheme}.png")
        failed += browser.complaints()
    for line in failed:
        print("FAILED", line)
    print(f"{report}: {'ok' if not failed else f'{len(failed)} problems'}; screenshots in {options.out}")
    return bool(failed)


def made_up(folder: Path) -> Path:
    with tempfile.TemporaryDirectory() as place, new_journal(Path(place) / "made up") as journal:
        journal.add_event("start")
        fill(journal, 80)
        for row in summarize(journal).front:
            measure(journal, journal.trial(row.number), 1.08 * row.metrics[HOST])
            score_on_test(journal, journal.trial(row.number), row.metrics["accuracy"] - 0.01)
        journal.add_event("finish")
        known = Reference("known <network>", {"accuracy": 0.93, HOST: 5.0, "params": 70_000})
        report = folder / "report.html"
        report.write_text(page(summarize(journal), [known]), encoding="utf-8")
    return report


def points(browser: Browser) -> list[str]:
    """Every member of the front's table is drawn, within its plot, and nothing overflows the page."""
    boxes = browser.run(f"{MEMBERS}.map(m => [m.dataset.k, m.getBoundingClientRect().width])")
    listed = browser.run("[...document.querySelectorAll('tr[data-k]')].map(r => r.dataset.k)")
    missing = set(listed) - {key for key, width in boxes if width > 4}
    found = [f"not drawn: trials {', '.join(sorted(missing))}"] if missing else []
    found += [] if boxes else ["no point of a front"]
    wide = browser.run("document.documentElement.scrollWidth")
    outside = browser.run(
        "[...document.querySelectorAll('svg.plot text')].filter(t => { const a = t.getBoundingClientRect(),"
        " b = t.ownerSVGElement.getBoundingClientRect(); return a.left < b.left - 1 || a.right > b.right + 1"
        " || a.top < b.top - 1 || a.bottom > b.bottom + 1 }).map(t => t.textContent)"
    )
    found += [f"text cut off in a plot: {words}" for words in outside]
    return found + ([f"the page is {wide} pixels wide, the window {WIDTH}"] if wide > WIDTH else [])


def hover(browser: Browser) -> list[str]:
    """The pointer over a member shows its number and metrics; away from it nothing."""
    if not browser.run(f"{MEMBERS}.length"):
        return []
    browser.run(f"{MEMBERS}[0].scrollIntoView({{block: 'center'}})")
    browser.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    x, y, key = browser.run(
        f"(m => {{ const b = m.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2, m.dataset.k] }})({MEMBERS}[0])"
    )
    browser.mouse(x, y)
    found = _tip_shows(browser, key)
    browser.mouse(3, 3)
    return found + ([] if browser.run("document.getElementById('tip').hidden") else ["the tooltip stays"])


def keyboard(browser: Browser) -> list[str]:
    """Tab reaches a member and shows the same; Escape hides it."""
    if not browser.run(f"{MEMBERS}.length"):
        return []
    browser.run("document.activeElement.blur()")
    for _ in range(3):
        browser.key("Tab")
        key = browser.run("document.activeElement.dataset.k ?? null")
        if key is not None:
            break
    else:
        return ["Tab does not reach the front"]
    found = _tip_shows(browser, key)
    browser.key("Escape")
    return found + ([] if browser.run("document.getElementById('tip').hidden") else ["Escape does not hide the tooltip"])


def _tip_shows(browser: Browser, key: str) -> list[str]:
    text = browser.run("(t => t.hidden ? '' : t.innerText)(document.getElementById('tip'))")
    row = browser.run(f"JSON.parse(document.getElementById('data').textContent).rows[{json.dumps(key)}]")
    return [f"the tooltip of {key} lacks {part!r}: {text!r}" for part in row if part not in text]


def sorting(browser: Browser) -> list[str]:
    """A click on a heading of the front's table sorts by number, a second one the other way."""
    column = "[...document.querySelectorAll('tr[data-k]')].map(r => Number(r.dataset.k))"
    found = []
    for way in (1, -1):
        if not browser.run(column):
            return []
        browser.run("document.querySelector('tr[data-k]').closest('table').tHead.querySelector('button').click()")
        numbers = browser.run(column)
        found += [] if numbers == sorted(numbers, key=lambda n: way * n) else [f"not in order: {numbers}"]
    return found


def shoot(browser: Browser, scheme: str, path: Path) -> None:
    """The whole page as PNG, with the tooltip of a member."""
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    height = min(int(browser.run("document.documentElement.scrollHeight")), 6000)
    browser.call("Emulation.setDeviceMetricsOverride", width=WIDTH, height=height, deviceScaleFactor=1, mobile=False)
    browser.run(f"scrollTo(0, 0), document.activeElement.blur(), {MEMBERS}[0]?.focus({{preventScroll: true}})")
    png = browser.call("Page.captureScreenshot", format="png")["data"]
    path.write_bytes(base64.b64decode(png))
    assert re.match(rb"\x89PNG", path.read_bytes()[:4])


if __name__ == "__main__":
    sys.exit(main())
