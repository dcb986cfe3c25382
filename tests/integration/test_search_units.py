"""A vendor that bills by searches: plan, cost, `--max-cost` and totals count search units."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.real_runs import Ended, environment, groups, rerank

from jobs.emulator.vendor_formats import FORMATS
from pipeline.api.emulator_process import emulator_process

USD_PER_UNIT = 0.002
SHORT, LONG = "a tent by the river ", "how to mend a tent, a stove or a lamp by the river " * 60
"""Some 5 tokens, and some 800: two chunks with the query."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with emulator_process("--format", "cohere") as address:
        path = FORMATS["cohere"]
        yield address if address.endswith(path) else address + path


def billed(url: str) -> int:
    with urllib.request.urlopen(url.removesuffix(FORMATS["cohere"]) + "/emulator/stats") as answer:
        return int(json.load(answer)["search_units"])


def cohere(*arguments: object) -> Ended:
    options = ("--provider", "cohere", "--json")
    return rerank(*arguments, *options, env=environment(COHERE_API_KEY="key"))


def test_a_run_costs_the_search_units_that_its_plan_foretold(url: str, tmp_path: Path) -> None:
    texts = {(1, place): f"{LONG}{place}" for place in range(60)}
    given = groups([100, 100, 130, 40], tmp_path / "in.parquet", texts=texts)
    before = billed(url)

    planned = cohere("plan", given).facts
    run = ("run", given, tmp_path / "out", "--url", url, "--no-progress")
    ran, again = cohere(*run), cohere(*run)
    status = rerank("status", tmp_path / "out", "--json").facts

    assert planned["search_units"] == 1 + 2 + 2 + 1
    assert planned["cost_usd"] == pytest.approx(6 * USD_PER_UNIT)
    assert (ran.code, again.code) == (0, 0), ran.err
    assert ran.facts["search_units"] == billed(url) - before == 6
    assert ran.facts["cost_usd"] == pytest.approx(6 * USD_PER_UNIT)
    assert (again.facts["search_units"], again.facts["requests"]) == (0, 0)
    assert status["search_units"] == 6
    assert status["all_runs_usd"] == pytest.approx(6 * USD_PER_UNIT)


def test_a_limit_of_the_cost_holds_over_all_runs(url: str, tmp_path: Path) -> None:
    given = groups([110] * 6, tmp_path / "in.parquet")
    run = ("run", given, tmp_path / "out", "--url", url, "--no-progress", "--max-cost")
    before = billed(url)

    ended, again = cohere(*run, 3.5 * 2 * USD_PER_UNIT), cohere(*run, 3.5 * 2 * USD_PER_UNIT)

    assert (ended.code, again.code) == (9, 9)
    assert billed(url) - before == 6
    more = cohere(*run, 1)
    assert more.code == 0, more.err
    assert more.facts["search_units"] == 6
    assert more.facts["all_runs_usd"] == pytest.approx(12 * USD_PER_UNIT)


def test_the_report_names_search_units(url: str, tmp_path: Path) -> None:
    given = groups([110], tmp_path / "in.parquet")
    options = ("--provider", "cohere", "--url", url, "--no-progress")

    ended = rerank("run", given, tmp_path / "out", *options, env=environment(COHERE_API_KEY="key"))
    planned = rerank("plan", given, "--provider", "cohere")

    assert "2 search units, $0.0040" in ended.out
    assert "about 2 search units, $0.0040" in planned.out
