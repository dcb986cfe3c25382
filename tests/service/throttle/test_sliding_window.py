"""A sliding window holds at most its limit, and says when there is room again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.service.throttle.sliding_window import SlidingWindow

PERIOD_S = 10.0
LIMIT = 100.0


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(1.0, LIMIT)), max_size=60))
def test_no_period_holds_more_than_the_limit(requests: list[tuple[float, float]]) -> None:
    window, now, admitted = SlidingWindow(PERIOD_S, LIMIT), 0.0, []
    for gap_s, amount in requests:
        now += gap_s
        while (wait_s := window.wait_s(now, amount)) > 0:
            now += wait_s + 1e-9  # a clock never stands still
        window.add(now, amount)
        admitted.append((now, amount))

    for end, _ in admitted:
        in_period = [amount for at, amount in admitted if end - PERIOD_S < at <= end]
        assert sum(in_period) <= LIMIT + 1e-6


def test_the_wait_ends_when_enough_has_expired() -> None:
    window = SlidingWindow(PERIOD_S, LIMIT)
    window.add(0.0, 60)
    window.add(4.0, 40)

    assert not window.has_room(5.0, 50)
    assert window.wait_s(5.0, 50) == 5.0
    assert window.wait_s(5.0, 60) == 5.0
    assert window.wait_s(5.0, 61) == 9.0
    assert window.wait_s(5.0, 70) == 9.0
    assert window.has_room(10.0, 60)


def test_an_amount_over_the_limit_passes_when_the_window_is_empty() -> None:
    window = SlidingWindow(PERIOD_S, LIMIT)
    window.add(0.0, 1)

    assert window.wait_s(3.0, 2 * LIMIT) == 7.0
    assert window.wait_s(10.0, 2 * LIMIT) == pytest.approx(0.0)


def test_a_correction_counts_as_long_as_its_entry() -> None:
    window = SlidingWindow(PERIOD_S, LIMIT)
    entry = window.add(0.0, 80)

    window.correct(entry, -50)
    assert window.has_room(1.0, 70)
    window.add(9.0, 70)
    assert window.has_room(10.0, 30)
    window.correct(entry, 50)
    assert window.has_room(10.0, 30)


def test_a_new_window_has_room_for_its_limit() -> None:
    assert SlidingWindow(PERIOD_S, LIMIT).has_room(0.0, LIMIT)


def test_what_fits_exactly_need_not_wait_and_the_smallest_excess_must() -> None:
    window = SlidingWindow(PERIOD_S, LIMIT)
    window.add(0.0, 60)

    assert window.wait_s(1.0, 40) == 0
    assert window.wait_s(1.0, 40.5) == 9.0


@pytest.mark.parametrize(
    ("period_s", "together_s", "apart_s"), [(10.0, 0.05, 0.051), (1.0, 0.005, 0.0051)]
)
def test_amounts_of_nearly_one_moment_expire_together(
    period_s: float, together_s: float, apart_s: float
) -> None:
    """A two-hundredth of the period, at most 50 ms, so that few entries are kept."""
    for first_s in (0.0, 5.0):
        for gap_s, free in ((together_s, 50), (apart_s, 80)):
            window = SlidingWindow(period_s, LIMIT)
            window.add(first_s, 30)
            window.add(first_s + gap_s - first_s * 1e-6, 10)
            window.add(first_s + period_s / 2, 10)

            moment = first_s + period_s + together_s / 2
            assert window.has_room(moment, free)
            assert not window.has_room(moment, free + 1)
            assert window.has_room(first_s + period_s + apart_s, 90)
            assert not window.has_room(first_s + period_s + apart_s, 91)


def test_a_corrected_entry_takes_what_it_now_counts_out_of_the_window() -> None:
    window = SlidingWindow(PERIOD_S, LIMIT)
    entry = window.add(0.0, 80)
    window.add(5.0, 10)

    window.correct(entry, -50)

    assert window.has_room(6.0, 60)
    assert not window.has_room(6.0, 61)
    assert window.has_room(10.0, 90)
    assert not window.has_room(10.0, 91)
