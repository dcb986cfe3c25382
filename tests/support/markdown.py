"""The parts of a Markdown page: sections, tables, code blocks, links."""

import re
from collections.abc import Iterator
from pathlib import Path

from support.real_runs import ROOT

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")

PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for folder in (".", "jobs", "pipeline", "sample_data", "tests", "tests/benchmarks")
    for page in (ROOT / folder).glob("*.md")
)
"""The documentation, by path below the project's folder."""


def read_page(path: str) -> str:
    """Return the text of a page."""
    return (ROOT / path).read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """Return what stands below a heading, up to the next one of its level or above."""
    text = _without_code(page)
    headings = list(_HEADING.finditer(text))
    for place, found in enumerate(headings):
        if found[2] == heading:
            ends = (h.start() for h in headings[place + 1 :] if len(h[1]) <= len(found[1]))
            return page[found.end() : next(ends, len(page))]
    raise AssertionError(f"no heading {heading!r}")


def rows(text: str, *header: str) -> list[list[str]]:
    """Return the cells of all tables, row by row, or of those whose header begins so."""
    found: list[list[str]] = []
    table: list[list[str]] = []
    for line in [*_without_code(text).splitlines(), ""]:
        if line.startswith("|"):
            table.append([cell.strip() for cell in line.strip("|").split("|")])
        elif table:
            if not header or table[0][: len(header)] == list(header):
                found += table[2:]
            table = []
    return found


def code_spans(text: str) -> list[str]:
    """Return what stands between backticks, in order; without fenced blocks."""
    return _CODE.findall(_without_code(text))


def blocks(page: str, language: str | None = None) -> list[str]:
    """Return the fenced code blocks: of a language, of none (""), or all (None)."""
    return [code for name, code in _FENCED.findall(page) if language in (name, None)]


def links(page: str) -> list[str]:
    """Return the targets of all links."""
    return _LINK.findall(_without_code(page))


def anchors(page: str) -> Iterator[str]:
    """Yield the anchors of the headings, as GitHub makes them."""
    for _, heading in _HEADING.findall(_without_code(page)):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def resolve(page_path: str, target: str) -> Path:
    """Return the file or folder that a link of a page leads to."""
    return (ROOT / page_path).parent / target.partition("#")[0]


def _without_code(page: str) -> str:
    """Return the page with its fenced blocks blanked, so that positions stay the same."""
    return _FENCED.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), page)
