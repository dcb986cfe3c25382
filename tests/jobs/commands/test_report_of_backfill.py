"""`rerank report` of OUTPUT_ROOT: one page about all partitions of a backfill."""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from support.real_runs import Service, groups, rerank_here, service

DAYS = ("2026-11-01", "2026-11-02", "2026-11-03")


@pytest.fixture(scope="module")
def poisoned() -> Iterator[Service]:
    with service("--fault", "poison") as running:
        yield running


@pytest.fixture
def root(tmp_path: Path, poisoned: Service) -> Path:
    """Return the root of a backfill of days with a refused document, one unreadable, one good."""
    source, root = tmp_path / "in", tmp_path / "out"
    groups([3, 3], source / f"dt={DAYS[0]}" / "a.parquet", texts={(1, 1): "a poison-pill"})
    groups([3], source / f"dt={DAYS[1]}" / "a.parquet").write_bytes(b"no Parquet")
    groups([3, 3, 3], source / f"dt={DAYS[2]}" / "a.parquet")
    days = ("--from", DAYS[0], "--to", DAYS[-1])
    ended = rerank_here("backfill", source, root, *days, *poisoned.options)
    assert ended.code == 3, ended.err
    return root


def text(page: Path) -> str:
    """Return the words of a page, each cell and each sentence on a line of its own."""
    body = page.read_text().partition("<body>")[2]
    return unescape(re.sub(r"\s*\n\s*", "\n", re.sub(r"<[^>]*>", "\n", body)))


def rows(page: Path) -> list[list[str]]:
    table = page.read_text().partition("<tbody>")[2].partition("</tbody>")[0]
    found = [re.findall(r"<t[hd].*?</t[hd]>", row) for row in table.split("<tr")[1:]]
    return [[unescape(re.sub(r"<[^>]*>", "", cell)) for cell in row] for row in found]


def test_the_page_has_sums_and_a_row_for_each_partition(root: Path) -> None:
    ended = rerank_here("report", root)

    page = root / "_report.html"
    assert ended.code == 0, ended.err
    assert ended.out.startswith(f"report  {page} (")
    refused, unreadable, good = rows(page)
    assert refused[:5] == [f"dt={DAYS[0]}", "partial", "2", "6", "1"]
    assert unreadable[:6] == [f"dt={DAYS[1]}", "waiting", "0", "0", "0", "0"]
    assert good[:5] == [f"dt={DAYS[2]}", "done", "3", "9", "0"]
    assert int(refused[6]) + int(good[6]) == 1, "the first query is the same on both days"
    assert "failed\n15 candidates of 5 queries are ranked and written" in text(page)
    assert "partitions done\n1\nof 3\n" in text(page)
    assert "candidates\n15\n1 without a score\n" in text(page)


def test_the_error_of_a_partition_stands_below_it(tmp_path: Path, poisoned: Service) -> None:
    source, root = tmp_path / "in", tmp_path / "out"
    groups([3, 3], source / f"dt={DAYS[0]}" / "a.parquet")
    days = ("--from", DAYS[0], "--to", DAYS[0], "--max-cost", 1e-9)
    assert rerank_here("backfill", source, root, *days, *poisoned.options).code == 9

    assert rerank_here("report", root).code == 0

    stopped, error = rows(root / "_report.html")
    assert stopped[:3] == [f"dt={DAYS[0]}", "failed", "0"]
    assert "--max-cost" in error[1]
    assert "The last run ended with: " in text(root / "_report.html")
    assert "No candidate is ranked and written yet." in text(root / "_report.html")


def test_partitions_are_linked_to_pages_of_their_own(root: Path) -> None:
    assert rerank_here("report", root / f"dt={DAYS[2]}").code == 0

    assert rerank_here("report", root).code == 0

    links = re.findall('<a href="(.*?)">', (root / "_report.html").read_text())
    assert links == [f"dt={DAYS[2]}/_report.html"]
    assert (root / links[0]).exists()


def test_a_page_elsewhere_has_no_links(root: Path, tmp_path: Path) -> None:
    assert rerank_here("report", root / f"dt={DAYS[2]}").code == 0

    assert rerank_here("report", root, "-o", tmp_path / "page.html").code == 0

    assert "<a " not in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("option", ["--qrels", "--against", "--input"])
def test_what_is_for_one_output_is_refused(root: Path, option: str) -> None:
    ended = rerank_here("report", root, option, "x")

    assert ended.code == 2
    assert f"{option}: is for one OUTPUT" in ended.failure
    assert not (root / "_report.html").exists()
