"""The page of a report in a real browser: Debian's Chromium, narrow and wide, light and dark.

Each chart must have marks of some size within the page, nothing may scroll sideways but tables in
their frames, the console must stay empty, and axe-core must find no serious violation.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright
from support.real_runs import SAMPLE, rerank, service
from support.tables import candidates, write

CHROMIUM = os.environ.get("CHROMIUM", shutil.which("chromium") or "")
WIDTHS = (400, 1_400)
SCHEMES = ("light", "dark")
EVIL = '<b onmouseover="alert(1)">\u202eevil</b>' + "x" * 3_000

MARKS = """() => [...document.querySelectorAll('figure svg')].map(svg => {
  const marks = [...svg.querySelectorAll('[class*=role-mark] *')].filter(one => {
    const box = one.getBoundingClientRect();
    return one instanceof SVGGraphicsElement && box.width + box.height > 0;
  });
  const colours = new Set(marks.map(one => getComputedStyle(one).fill));
  return [svg.parentElement.querySelector('h3').textContent, marks.length, [...colours]];
})"""

TOO_WIDE = """() => [...document.querySelectorAll('body *')].filter(one =>
  !one.closest('.scroll, svg') && one.getBoundingClientRect().right > innerWidth + 1
).map(one => one.outerHTML.slice(0, 80))"""

CUT_LETTERS = """() => [...document.querySelectorAll('figure svg text')].filter(one => {
  const box = one.getBoundingClientRect(), card = one.closest('figure').getBoundingClientRect();
  return one.textContent && (box.left < card.left || box.right > card.right);
}).map(one => one.textContent)"""

SMALLEST_LETTER = """() => Math.min(...[...document.querySelectorAll('figure svg text')].filter(
  one => one.textContent).map(one => one.getBoundingClientRect().height))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.fail("Chromium is not installed (Debian: chromium)")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the pages of a judged run, of one without judgements or anything, of a backfill."""
    folder = tmp_path_factory.mktemp("report")
    given, page = SAMPLE / "candidates.parquet", folder / "judged.html"
    limits = ("--max-documents", 25, "--requests-per-minute", 3_000, "--no-progress")
    with service("--score-distortion", "affine", "--requests-per-minute", 1_500) as emulator:
        first, other = folder / "first", folder / "other"
        for output in (first, other):
            ended = rerank("run", given, output, *emulator.options, *limits)
            assert ended.code == 0, ended.err
        odd = write(
            candidates([4, 2], doc_id=[EVIL, "שלום", "a", "b", "c", "d"]), folder / "odd.parquet"
        )
        command = ("run", odd, folder / "odd", *emulator.options, "--with-text", "--no-progress")
        assert rerank(*command).code == 0
        nothing = write(candidates([]), folder / "nothing.parquet")
        command = ("run", nothing, folder / "nothing", *emulator.options, "--no-progress")
        assert rerank(*command).code == 0
        days = [f"dt=2026-11-{day:02d}" for day in range(1, 4)]
        for day in days:
            write(candidates([2]), folder / "lake" / day / "a.parquet")
        command = ("backfill", folder / "lake", folder / "backfill", "--from", "2026-11-01")
        ended = rerank(*command, *emulator.options, "--to", "2026-11-03", "--no-progress")
        assert ended.code == 0, ended.err
        assert rerank("report", folder / "backfill" / days[0]).code == 0
    qrels = ("--qrels", SAMPLE / "qrels.parquet", "--input", given, "--against", other)
    assert rerank("report", first, *qrels, "-o", page).code == 0
    found = {"judged": page}
    for name in ("odd", "nothing", "backfill"):
        assert rerank("report", folder / name).code == 0
        found[name] = folder / name / "_report.html"
    return found


@pytest.fixture(params=["judged", "odd", "nothing", "backfill"])
def file(request: pytest.FixtureRequest, pages: dict[str, Path]) -> Path:
    return pages[request.param]


@pytest.fixture
def page(browser: Browser, file: Path) -> Iterator[Page]:
    """Return the page, opened from its file, without a network."""
    context = browser.new_context(offline=True)
    opened = context.new_page()
    messages: list[str] = []
    opened.on("console", lambda message: messages.append(message.text))
    opened.on("pageerror", lambda error: messages.append(str(error)))
    opened.on("request", lambda request: messages.append(request.url))
    opened.goto(file.as_uri())
    yield opened
    context.close()
    assert messages == [file.as_uri()]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_chart_is_drawn_and_nothing_scrolls_sideways(
    page: Page, file: Path, width: int, scheme: Any
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    for details in page.query_selector_all("details"):
        details.evaluate("one => one.open = true")

    charts = page.evaluate(MARKS)

    assert len(charts) >= (14 if file.name == "judged.html" else 0)
    for title, num_marks, colours in charts:
        assert num_marks > 0, title
        assert "rgb(0, 0, 0)" not in colours or scheme == "light", title
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(TOO_WIDE) == []
    if charts:
        assert page.evaluate(CUT_LETTERS) == []
        assert page.evaluate(SMALLEST_LETTER) >= 9


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_no_serious_violation(page: Page, width: int, scheme: Any) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    for details in page.query_selector_all("details"):
        details.evaluate("one => one.open = true")

    found = Axe().run(page).response["violations"]

    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in serious] == []


def test_the_page_prints_without_cutting_its_tables(page: Page) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 760, "height": 1_000})

    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("document.documentElement.scrollWidth") <= 760
    assert page.pdf().startswith(b"%PDF-")
