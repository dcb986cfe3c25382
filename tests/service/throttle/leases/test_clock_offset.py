"""How far another clock is ahead: by the quickest of the last answers."""

import pytest

from pipeline.service.throttle.leases.clock_offset import ClockOffset


def test_without_an_answer_both_clocks_are_taken_for_one() -> None:
    assert ClockOffset().ours(7.0) == 7.0


def test_an_answer_is_taken_to_be_given_midway() -> None:
    offset = ClockOffset()

    offset.add(sent=10.0, received=12.0, theirs=111.5)

    assert offset.ours(111.5) == pytest.approx(11.0)
    assert offset.ours(100.0) == pytest.approx(-0.5)


def test_the_quickest_of_the_last_sixteen_answers_counts() -> None:
    offset = ClockOffset()
    offset.add(10.0, 10.5, 110.25)  # 100 s ahead
    offset.add(11.0, 11.1, 106.05)  # 95 s, and quicker
    for second in range(15):
        offset.add(20.0 + second, 21.0 + second, 110.5 + second)  # 90 s, and slow
        assert offset.ours(95.0) == pytest.approx(0.0)

    offset.add(40.0, 41.0, 130.5)

    assert offset.ours(90.0) == pytest.approx(0.0)
