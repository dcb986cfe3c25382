"""The line of progress: what it says, and that it fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from jobs.console.progress_line import LIMITED_BY, View, compose, duration
from jobs.console.run_report import LIMITED_BY as IN_FULL
from jobs.console.terminal_line import PLAIN_SIGNS, Signs
from pipeline.core.settings import Pace
from pipeline.dataset.summary import RunSummary
from pipeline.output.ticks import Stretch

RECENT = Stretch(
    **dict.fromkeys(("start_s", "cost_usd", "in_flight", "p95_ms"), 0.0),
    **dict.fromkeys(("sent", "throttled", "failed", "reused", "tokens", "candidates"), 0),
    seconds=10.0,
    requests=75,
    bound_s={"requests_per_minute": 9.0, "source": 1.0},
)
NOW = RunSummary(
    groups=1_100,
    groups_ranked=312,
    candidates=11_000,
    candidates_ranked=3_080,
    requests=312,
    requests_sent=314,
    requests_failed=2,
    retries=2,
    cost_usd=0.05,
    recent=RECENT,
    seconds=39.0,
)
VIEW = View(
    now=NOW,
    done=312,
    total=1_100,
    noun="queries",
    share=0.28,
    pace=Pace(requests_per_minute=5_400),
    seconds_left=101.0,
)


def shown(view: View, columns: int, signs: Signs | None = None) -> str:
    return str(compose(view, columns, signs or Signs()))


def test_the_line_says_all_where_there_is_room() -> None:
    assert shown(VIEW, 103) == (
        "312/1,100 queries 28 % ━─── 7.5 req/s of 90 · $0.05 of $0.18 · 2 retries · 1:41 left"
        " · limited by quota"
    )
    assert len(shown(VIEW, 200)) == 139, "the bar has at most 40 characters"


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (79, "312/1,100 queries 28 % ━────── 7.5 req/s · $0.05 · 1:41 left · limited by quota"),
        (60, "312/1,100 queries 28 % ━────── 7.5 req/s · $0.05 · 1:41 left"),
        (39, "312/1,100 28 % · $0.05 · 1:41 left"),
        (20, "312/1,100 28 %"),
        (10, "28 %"),
    ],
)
def test_what_matters_least_is_left_out_first(columns: int, line: str) -> None:
    assert shown(VIEW, columns) == line


def test_a_terminal_without_these_characters_gets_ascii() -> None:
    line = shown(VIEW, 60, PLAIN_SIGNS)

    assert line.isascii()
    assert line.startswith("312/1,100 queries 28 % =------")
    assert line.endswith(" 7.5 req/s | $0.05 | 1:41 left")


@given(
    columns=st.integers(min_value=10, max_value=250),
    done=st.integers(min_value=0, max_value=10**9),
    total=st.none() | st.integers(min_value=1, max_value=10**9),
    share=st.none() | st.floats(min_value=0, max_value=1),
    cost=st.floats(min_value=0, max_value=1e6),
    left=st.none() | st.floats(min_value=0, max_value=1e7),
    outage=st.sampled_from([0.0, 60.0]),
    state=st.sampled_from(["running", "done", "failed"]),
    is_stopping=st.booleans(),
)
def test_the_line_always_fits(columns, done, total, share, cost, left, outage, state, is_stopping):
    now = replace(NOW, cost_usd=cost, outage_s=outage, state=state)
    view = replace(VIEW, now=now, done=done, total=total, share=share, seconds_left=left)

    line = shown(replace(view, is_stopping=is_stopping), columns)

    assert 0 < len(line) <= columns
    assert line.isprintable()


def test_a_run_that_stands_still_says_why_even_where_little_fits() -> None:
    down = replace(VIEW, now=replace(NOW, outage_s=60.0))
    stopping = replace(VIEW, is_stopping=True, now=replace(NOW, requests_sent=317))

    assert "service down since " in shown(down, 60)
    assert "left" not in shown(down, 200)
    assert "stopping, 3 answers to come, Ctrl-C again exits at once" in shown(stopping, 79)


def test_every_cause_has_its_words() -> None:
    told_otherwise = {"outage", ""}

    assert LIMITED_BY.keys() == IN_FULL.keys() - told_otherwise


def test_only_the_end_is_100_percent() -> None:
    assert "99 %" in shown(replace(VIEW, share=0.9999), 103)
    assert "100 %" in shown(replace(VIEW, share=1.0), 103)


def test_a_line_of_a_run_that_has_ended_says_how() -> None:
    ended = replace(VIEW, now=replace(NOW, state="done"), done=1_100, share=1.0)

    assert shown(ended, 70).endswith("━━━ $0.05 · 2 retries · done in 0:39")


def test_cents_and_less() -> None:
    assert "$0.0067 of $0.0239" in shown(replace(VIEW, now=replace(NOW, cost_usd=0.0067)), 200)


def test_without_a_quota_only_the_rate_is_shown() -> None:
    assert " 7.5 req/s · " in shown(replace(VIEW, pace=Pace()), 200)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (101, "1:41"), (3_599.6, "1:00:00"), (7_390, "2:03:10")]
)
def test_a_duration_is_minutes_and_seconds(seconds: float, text: str) -> None:
    assert duration(seconds) == text
