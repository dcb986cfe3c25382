"""The page of a report: what it shows of outputs in every state, and that nothing can break it."""

import asyncio
import json
import re
import shutil
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.fake_reranker import FakeReranker, Fixed
from support.group_world import make_settings
from support.real_runs import groups
from support.tables import candidates, write

from pipeline.core.errors import InputError, RerankError
from pipeline.core.settings import Pace
from pipeline.dataset.rerank import DatasetRun
from pipeline.dataset.session import Session
from pipeline.evaluation.measures import DEFAULT_MEASURES, parse_measures
from pipeline.output.reader import open_output
from pipeline.report.costs import PlannedCost
from pipeline.report.report import Request, make_report

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """What a page holds: its texts, its charts, its tables, and whether its tags are closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.titles: list[str] = []
        self.unclosed: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.unclosed += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self._open.append(tag)
        self.titles += [] if tag != "h3" else [""]

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()
        else:
            self.unclosed.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if "h3" in self._open:
            self.titles[-1] += data


def page_of(output: Path, **asked: Any) -> Page:
    if "qrels_name" in asked:
        asked["measures"] = parse_measures(DEFAULT_MEASURES)
    if "against" in asked:
        asked["against"] = open_output(str(asked["against"]))
    page = Page(make_report(open_output(str(output)), Request(made_at=NOW, **asked)))
    assert page.unclosed == []
    return page


async def rerank(given: Path, output: Path, *, otherwise: Any = 200, **how: Any) -> Path:
    """Run once, whatever the end; return the output."""
    async with FakeReranker(otherwise=otherwise) as fake:
        settings = make_settings(url=fake.url, **how)
        async with Session(settings, "key") as session:
            try:
                await DatasetRun(session, str(given), str(output)).run()
            except RerankError:
                pass
    return output


@pytest.fixture
async def output(tmp_path: Path) -> Path:
    given = groups([12, 3, 30], tmp_path / "in.parquet")
    return await rerank(given, tmp_path / "out", max_documents=10)


@pytest.fixture
def qrels(tmp_path: Path) -> Path:
    path = tmp_path / "qrels.txt"
    path.write_text("q0 0 d0-0 2\nq0 0 d0-9 1\nq1 0 d1-2 1\nq2 0 d2-5 1\n")
    return path


def test_a_finished_run_is_told_in_numbers_and_charts(output: Path) -> None:
    page = page_of(output)

    assert "45 candidates of 3 queries are ranked and written" in page.text
    # A quick run may have been held back by nothing.
    assert [title for title in page.titles if title != "What held the run back"][-5:] == [
        "Requests per second",
        "Requests in flight",
        "Tokens per second",
        "Latency over time, 95th percentile",
        "Latency of answered requests",
    ]
    assert {
        "How far documents moved",
        "Scores by rank",
        "How the requests of a query were joined",
        "Certified depth: places proved",
        "First ten places shared with the first stage",
    } <= set(page.titles)


def test_every_chart_has_a_title_a_summary_and_marks(output: Path, qrels: Path) -> None:
    html = page_of(output, qrels_name=str(qrels), against=output).html

    figures = re.findall(r"<figure.*?</figure>", html, re.DOTALL)
    assert len(figures) == html.count("<svg") > 10
    for figure in figures:
        assert re.search(r"<figcaption><h3>.+</h3></figcaption>", figure)
        assert re.search(r'<p class="summary">.{10,}</p>', figure)
        assert re.search(r'class="mark-(rect|symbol|area|line|rule)', figure)


def test_the_page_calls_no_address_and_runs_no_script(output: Path, qrels: Path) -> None:
    html = page_of(output, qrels_name=str(qrels)).html

    assert re.findall(r"\bhttps?:|//[a-z]|<script|<iframe|<object|@import|\bon\w+=", html) == []
    assert set(re.findall(r"(?:src|href)=\"([^\"]*)\"", html)) == {"data:,"}
    assert re.findall(r"url\((?!#)", html) == []


def test_judgements_show_measures_with_intervals_and_queries_side_by_side(
    output: Path, qrels: Path, tmp_path: Path
) -> None:
    page = page_of(output, qrels_name=str(qrels), input_name=str(tmp_path / "in.parquet"))

    assert "Did the ranking get better?" in page.text
    assert {"Gain of each query, sorted", "Measures before and after, with 95 % confidence"} <= set(
        page.titles
    )
    assert re.search(r"[+-]\d\.\d{4} to [+-]\d\.\d{4}", page.text)
    assert "relevance 2" in page.text
    assert "d0-0" in page.text
    assert "trail" in page.text, "texts come from the input"


def test_without_judgements_the_queries_that_changed_most_are_shown(output: Path) -> None:
    page = page_of(output)

    assert "How much did the ranking change?" in page.text
    assert "Queries that changed most" in page.titles
    assert "rank-biased overlap (p = 0.9) with the first stage" in page.text
    assert "give --input" in page.text


def test_another_output_is_compared_with_and_without_judgements(output: Path, qrels: Path) -> None:
    plain, judged = (
        page_of(output, against=output),
        page_of(output, against=output, qrels_name=str(qrels)),
    )

    assert "3 queries are in both; 0 only here, 0 only there" in plain.text
    assert "Measures of both" not in plain.text
    assert "Measures of both" in judged.text


def test_the_plan_stands_beside_what_was_paid(output: Path) -> None:
    planned = PlannedCost(requests=7, tokens=123_456, cost_usd=0.0123)

    assert "planned for the whole input, first requests" in page_of(output, planned=planned).text
    assert "123,456" in page_of(output, planned=planned).text
    assert "planned for" not in page_of(output).text


async def test_every_try_is_told_in_one_story(tmp_path: Path) -> None:
    given, output = groups([3] * 12, tmp_path / "in.parquet"), tmp_path / "out"
    calls = 0

    def unpaid_at_first(_: dict[str, Any]) -> Fixed:
        nonlocal calls
        calls += 1
        return 401 if calls > 5 else 200

    await rerank(given, output, otherwise=unpaid_at_first, groups_per_part=2)
    await rerank(given, output, groups_per_part=2)

    page = page_of(output)

    assert "is done" in page.text
    assert "in 2 tries" in page.text
    assert "failed (exit 4)" in page.text
    assert "done (exit 0)" in page.text
    assert "tries one after the other" in page.text


async def test_a_failed_run_says_why(tmp_path: Path) -> None:
    given = groups([3] * 3, tmp_path / "in.parquet")
    output = await rerank(given, tmp_path / "out", otherwise=401)

    page = page_of(output)

    assert "failed" in page.text
    assert "The last run ended with:" in page.text
    assert "No part is written yet" in page.text


async def test_a_run_that_goes_on_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    given, output = groups([3] * 40, tmp_path / "in.parquet"), tmp_path / "out"
    async with FakeReranker(latency_s=0.02) as fake:
        pace = Pace(requests_per_minute=600)
        settings = make_settings(url=fake.url, groups_per_part=2, pace=pace)
        async with Session(settings, "key") as session:
            run = asyncio.create_task(DatasetRun(session, str(given), str(output)).run())
            async with asyncio.timeout(30):
                while not list(output.glob("part-00003*")):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            page = await asyncio.to_thread(page_of, output)
            await run

    assert "is running" in page.text
    assert "not finished: the page shows what is written so far" in page.text
    assert "How far documents moved" in page.titles


async def test_an_empty_input_has_a_page_too(tmp_path: Path, qrels: Path) -> None:
    given = write(candidates([]), tmp_path / "in.parquet")
    output = await rerank(given, tmp_path / "out")

    page = (
        page_of(output, qrels_name=str(qrels)) if list(output.glob("part-*")) else page_of(output)
    )

    assert "No candidate is ranked and written yet." in page.text


def test_a_run_too_short_to_be_held_back_has_no_chart_of_that(output: Path) -> None:
    (file,) = (output / "_runs").glob("*.json")
    record = json.loads(file.read_text())
    record["ticks"]["bound_s"] = {"source": [0.0] * len(record["ticks"]["at_s"])}
    file.write_text(json.dumps(record))

    page = page_of(output)

    assert "Requests per second" in page.titles
    assert "What held the run back" not in page.titles
    assert "Infinity" not in page.html


def test_records_that_are_gone_leave_the_ranking(output: Path) -> None:
    shutil.rmtree(output / "_runs")

    page = page_of(output)

    assert "No run has left a record." in page.text
    assert "How far documents moved" in page.titles


def test_an_output_whose_input_is_gone_has_a_page_without_texts(
    output: Path, tmp_path: Path
) -> None:
    (tmp_path / "in.parquet").unlink()

    assert "Documents are shown without their texts" in page_of(output).text
    with pytest.raises(InputError, match=r"in\.parquet"):
        page_of(output, input_name=str(tmp_path / "in.parquet"))


EVIL = "<script>alert(1)</script>&\"'><img src=x onerror=alert(1)>"


async def test_ids_queries_and_texts_are_escaped_isolated_and_shortened(tmp_path: Path) -> None:
    ids = [EVIL, "\u202eabc", "שלום", "\x00\x1b[31m\x7f\x9b", "x" * 5_000, "{{ 7 * 7 }}"]
    texts = [EVIL, "\u202ertl", "عربى", "\x00\x1b[0m", "y" * 100_000, "{% raw %}"]
    table = candidates([6], doc_id=ids, text=texts, query=pa.array([EVIL] * 6))
    given = write(table, tmp_path / "in.parquet")
    output = await rerank(given, tmp_path / "out", with_text=True)

    page = page_of(output)

    assert "<script" not in page.html
    assert "<img" not in page.html
    assert EVIL[:40] in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert '<bdi class="id">\u202eabc</bdi>' in page.html
    assert '<bdi class="id">\u2400\u241b[31m\u2421\ufffd</bdi>' in page.html
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", page.html)
    assert "x" * 81 not in page.html
    assert "y" * 221 not in page.html


async def test_a_cut_output_shows_no_agreement_with_a_first_stage_it_does_not_hold(
    tmp_path: Path,
) -> None:
    given = groups([20, 20], tmp_path / "in.parquet")
    output = await rerank(given, tmp_path / "out", top_n=5)

    page = page_of(output)

    assert "First ten places shared with the first stage" not in page.titles
    assert "How far documents moved" in page.titles


async def test_a_large_output_is_sampled_and_the_page_says_so(tmp_path: Path) -> None:
    given = groups([4] * 50, tmp_path / "in.parquet")
    output = await rerank(given, tmp_path / "out", groups_per_part=5)

    whole, sampled = page_of(output), page_of(output, max_rows=60)

    assert "taken from a sample" not in whole.text
    assert "taken from a sample: 15 of 50 queries (60 of 200 candidates)" in sampled.text


async def test_runs_side_by_side_are_told_as_such(output: Path, tmp_path: Path) -> None:
    await rerank(tmp_path / "in.parquet", output, max_documents=10)
    apart = page_of(output).text
    first, second = sorted((output / "_runs").glob("*.json"))
    record = json.loads(first.read_text())
    second.write_text(json.dumps(record | {"started": "2000-01-01T00:00:00+00:00"}))

    assert "side by side" not in apart
    assert "Some runs went on side by side" in page_of(output).text
