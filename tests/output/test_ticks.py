"""Ticks of a run: bounded in number, additive, and exact between those that are kept."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.output.ticks import MAX_TICKS, Stretch, Tick, Ticks, side_by_side


def ticked(seconds: int, *, max_ticks: int = MAX_TICKS, per_s: int = 7) -> Ticks:
    """Return the ticks of a run with a steady rate, one offered each second."""
    ticks = Ticks()
    for at_s in range(1, seconds + 1):
        numbers = {"requests": per_s * at_s, "sent": per_s * at_s, "in_flight_s": 3.0 * at_s}
        bound_s = {"requests_per_minute": float(at_s)}
        ticks.add(Tick(at_s=at_s, bound_s=bound_s, **numbers), max_ticks=max_ticks)
    return ticks


def test_a_long_run_takes_as_many_bytes_as_a_short_one() -> None:
    short, long = (len(msgspec.json.encode(ticked(hours * 3_600))) for hours in (1, 10))

    assert long <= 1.3 * short
    assert long <= 25_000


@given(seconds=st.integers(1, 600), max_ticks=st.integers(2, 50))
def test_the_ticks_are_bounded_and_lose_nothing(seconds: int, max_ticks: int) -> None:
    ticks = ticked(seconds, max_ticks=max_ticks)
    stretches = list(ticks.stretches())

    assert len(ticks) <= max_ticks
    assert sum(one.requests for one in stretches) == 7 * seconds
    assert sum(one.seconds for one in stretches) == pytest.approx(seconds)
    assert [one.start_s for one in stretches] == [0.0, *ticks.at_s[:-1]]
    assert all(one.requests_per_s == pytest.approx(7) for one in stretches)
    assert all(one.in_flight == pytest.approx(3) for one in stretches)


def test_what_held_the_run_back_is_known_for_each_stretch() -> None:
    ticks = Ticks()
    ticks.add(Tick(at_s=2, bound_s={"source": 2.0}))
    ticks.add(Tick(at_s=10, bound_s={"source": 3.0, "outage": 7.0}))
    ticks.add(Tick(at_s=12, bound_s={"source": 5.0, "outage": 7.0}))

    assert [one.bound_by for one in ticks.stretches()] == ["source", "outage", "source"]
    assert [dict(one.bound_s) for one in ticks.stretches()] == [
        {"source": 2.0},
        {"source": 1.0, "outage": 7.0},
        {"source": 2.0},
    ]
    whole = ticks.total()
    assert whole is not None
    assert dict(whole.bound_s) == {"source": 5.0, "outage": 7.0}


def test_of_dropped_ticks_the_slowest_latency_is_kept() -> None:
    ticks = Ticks()
    for at_s, p95_ms in enumerate((5.0, 900.0, 7.0, 8.0, 9.0), start=1):
        ticks.add(Tick(at_s=at_s, p95_ms=p95_ms), max_ticks=4)

    assert ticks.at_s == [1.0, 3.0, 5.0]
    assert ticks.p95_ms == [5.0, 900.0, 9.0]


def test_recent_is_the_last_ten_seconds_or_what_there_is() -> None:
    assert Ticks().recent() is None
    first, later = ticked(3).recent(), ticked(100).recent()

    assert first is not None
    assert (first.start_s, first.seconds, first.requests) == (0.0, 3.0, 21)
    assert later is not None
    assert (later.start_s, later.seconds, later.bound_by) == (90.0, 10.0, "requests_per_minute")


def test_ticks_are_read_as_they_were_written() -> None:
    ticks = ticked(50)

    assert msgspec.json.decode(msgspec.json.encode(ticks), type=Ticks) == ticks


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="different lengths"):
        msgspec.json.decode(b'{"at_s": [1, 2], "requests": [1]}', type=Ticks)


def test_runs_side_by_side_add_up() -> None:
    def stretch(requests: int, cause: str) -> Stretch:
        ticks = Ticks()
        ticks.add(Tick(at_s=10, requests=requests, in_flight_s=20.0, bound_s={cause: 10.0}))
        (one,) = ticks.stretches()
        return one

    both = side_by_side([stretch(30, "source"), stretch(70, "source"), stretch(1, "cpu")])

    assert both is not None
    assert (both.requests, both.in_flight, both.bound_by) == (101, 6.0, "source")
    assert side_by_side([]) is None


def test_a_run_of_a_moment_has_a_tick_of_some_length() -> None:
    ticks = Ticks()
    ticks.add(Tick(at_s=0.004, requests=2, tokens=30))

    (stretch,) = ticks.stretches()
    assert (stretch.seconds, stretch.requests, stretch.requests_per_s) == (0.1, 2, 20.0)


def test_the_last_tick_right_after_another_takes_its_place() -> None:
    ticks = Ticks()
    ticks.add(Tick(at_s=1.0, requests=5, p95_ms=80.0))
    ticks.add(Tick(at_s=2.01, requests=9, p95_ms=90.0, bound_s={"source": 1.0}))
    ticks.add(Tick(at_s=2.03, requests=12, p95_ms=10.0, bound_s={"source": 1.2, "outage": 0.1}))

    first, last = ticks.stretches()
    assert (first.seconds, first.requests) == (1.0, 5)
    assert (last.seconds, last.requests, last.p95_ms) == (1.0, 7, 90.0)
    assert last.bound_s == {"source": 1.2, "outage": 0.1}
