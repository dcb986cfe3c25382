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
    for at_s, p95_ms in enumerate((5.0, 900.0, 70.0, 8.0, 9.0), start=1):
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


@pytest.mark.parametrize("record", [b'{"at_s": [1, 2], "requests": [1]}', b'{"at_s": [1]}'])
def test_columns_of_different_lengths_are_refused(record: bytes) -> None:
    with pytest.raises(msgspec.ValidationError, match="different lengths"):
        msgspec.json.decode(record, type=Ticks)


def test_a_record_whose_first_tick_took_no_time_has_no_rates() -> None:
    ticks = msgspec.convert(
        {name: [0] for name in Tick.__struct_fields__ if name != "bound_s"}, Ticks
    )

    assert [(one.seconds, one.in_flight, one.requests_per_s) for one in ticks.stretches()] == [
        (0.0, 0.0, 0.0)
    ]


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


def test_a_tick_that_is_not_later_takes_the_place_of_the_last_one_at_its_time() -> None:
    ticks = Ticks()
    ticks.add(Tick(at_s=2.0, requests=5))
    ticks.add(Tick(at_s=1.5, requests=6))

    assert (ticks.at_s, ticks.requests) == ([2.0], [6])


def test_a_cause_that_a_tick_does_not_name_held_the_run_back_for_no_time() -> None:
    ticks = Ticks()
    ticks.add(Tick(at_s=1.0, bound_s={"source": 1.0}))
    ticks.add(Tick(at_s=2.0))

    assert ticks.bound_s == {"source": [1.0, 0.0]}


def test_each_stretch_has_its_own_latency() -> None:
    ticks = Ticks()
    for at_s, p95_ms in enumerate((5.0, 9.0, 4.0, 7.0), start=1):
        ticks.add(Tick(at_s=at_s, p95_ms=p95_ms))

    assert [one.p95_ms for one in ticks.stretches()] == [5.0, 9.0, 4.0, 7.0]


NUMBERS = {
    "requests": 1, "sent": 2, "throttled": 3, "failed": 4, "reused": 5, "tokens": 6,
    "cost_usd": 0.5, "candidates": 7,
}  # fmt: skip


def numbers_of(stretch: Stretch) -> dict[str, float]:
    return {name: getattr(stretch, name) for name in NUMBERS}


def test_every_number_of_a_stretch_is_the_difference_of_two_ticks() -> None:
    ticks = Ticks()
    ticks.add(Tick(at_s=2, in_flight_s=2.0, p95_ms=5.0, bound_s={"source": 1.5}, **NUMBERS))
    later = {name: 3 * value for name, value in NUMBERS.items()}
    ticks.add(Tick(at_s=4, in_flight_s=8.0, p95_ms=4.0, bound_s={"source": 1.5}, **later))

    first, second = ticks.stretches()

    assert numbers_of(first) == NUMBERS
    assert numbers_of(second) == {name: 2 * value for name, value in NUMBERS.items()}
    assert (second.start_s, second.seconds, second.in_flight) == (2.0, 2.0, 3.0)
    assert (first.p95_ms, second.p95_ms) == (5.0, 4.0)
    assert (dict(second.bound_s), second.bound_by) == ({}, ""), "nothing held it back for a while"
    whole = ticks.total()
    assert whole is not None
    assert (whole.start_s, whole.seconds, whole.p95_ms) == (0.0, 4.0, 5.0)
    assert Ticks().total() is None


def test_every_number_of_runs_side_by_side_is_the_sum() -> None:
    ticks = Ticks()
    ticks.add(Tick(at_s=2, in_flight_s=2.0, p95_ms=5.0, bound_s={"cpu": 2.0}, **NUMBERS))
    ticks.add(Tick(at_s=5, in_flight_s=8.0, p95_ms=9.0, bound_s={"cpu": 3.0}, **NUMBERS))
    first, second = ticks.stretches()

    both = side_by_side([second, first])

    assert both is not None
    assert numbers_of(both) == NUMBERS
    assert (both.start_s, both.seconds, both.in_flight, both.p95_ms) == (0.0, 3.0, 3.0, 9.0)
    assert both.bound_s == {"cpu": 3.0}


def test_a_tick_is_rounded_to_what_tells_something() -> None:
    ticks = Ticks()

    ticks.add(
        Tick(at_s=1.26, cost_usd=1.2345678, in_flight_s=2.345, p95_ms=7.77, bound_s={"cpu": 1.27})
    )

    assert ticks.tick(0) == Tick(
        at_s=1.3, cost_usd=1.234568, in_flight_s=2.3, p95_ms=7.8, bound_s={"cpu": 1.3}
    )
    assert ticks.tick(-1) == Tick(at_s=0.0)


@pytest.mark.parametrize(
    ("at_s", "kept"),
    [(0.0, [1, 2, 3, 4]), (1.5, [1, 2, 3, 4]), (2.0, [2, 3, 4]), (2.5, [2, 3, 4]), (9.0, [4])],
)
def test_the_last_tick_until_a_moment_and_all_later_ones_are_kept(
    at_s: float, kept: list[int]
) -> None:
    ticks = ticked(4)

    ticks.drop_before(at_s)

    assert ticks.at_s == kept
    assert ticks.requests == [7 * second for second in kept]
    assert ticks.bound_s == {"requests_per_minute": kept}


@pytest.mark.parametrize(
    ("max_ticks", "kept"),
    [
        (9, [1, 2, 3, 4, 5, 6, 7]),
        (7, [1, 2, 3, 4, 5, 6, 7]),
        (6, [1, 3, 5, 7]),
        (3, [3, 7]),
        (1, [7]),
        (0, [7]),
    ],
)
def test_coarser_ticks_are_fewer_of_the_same_and_end_with_the_last(
    max_ticks: int, kept: list[int]
) -> None:
    ticks = ticked(7)

    coarser = ticks.coarser(max_ticks)

    assert coarser.at_s == kept
    assert coarser.bound_s == {"requests_per_minute": kept}
    assert ticks == ticked(7), "which stay as they are"


def test_ticks_less_than_a_tenth_of_a_second_apart_are_one() -> None:
    ticks = Ticks()
    for at_s in (1.0, 1.04, 1.06):
        ticks.add(Tick(at_s=at_s, requests=int(100 * at_s)))

    assert (ticks.at_s, ticks.requests) == ([1.0, 1.1], [104, 106])


def test_recent_goes_back_to_the_last_tick_that_is_long_enough_ago() -> None:
    ticks = ticked(5)

    assert [one and one.start_s for one in map(ticks.recent, (0.5, 1.0, 1.5, 5.0, 9.0))] == [
        4.0, 4.0, 3.0, 0.0, 0.0,
    ]  # fmt: skip
