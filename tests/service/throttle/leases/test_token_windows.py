"""The tokens of slots by moment: no second and no minute holds too many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.service.throttle.leases.token_windows import TokenWindows

PER_S = 1_000.0
SECOND = 1_040.0
"""What a second of a quota of a thousand tokens holds."""


def windows(*slots: tuple[float, float]) -> TokenWindows:
    kept = TokenWindows()
    for at, tokens in slots:
        kept.add(at, tokens)
    return kept


def test_tokens_fit_as_long_as_their_second_has_room() -> None:
    kept = windows((10.0, 600.0), (10.5, 300.0))

    assert kept.earliest(10.6, SECOND - 900, PER_S) == 10.6
    assert kept.earliest(10.6, SECOND - 899, PER_S) == pytest.approx(11.025)
    assert kept.earliest(10.6, SECOND - 300, PER_S) == pytest.approx(11.025)
    assert kept.earliest(10.6, SECOND - 299, PER_S) == pytest.approx(11.525)
    assert kept.earliest(11.0249, SECOND - 300, PER_S) == pytest.approx(11.025)
    assert kept.earliest(11.025, SECOND - 300, PER_S) == 11.025


def test_more_than_a_second_holds_fits_when_the_second_is_empty() -> None:
    assert windows().earliest(3.0, 9_000.0, PER_S) == 3.0
    assert windows((2.5, 1.0)).earliest(3.0, 9_000.0, PER_S) == pytest.approx(3.525)


def test_a_minute_holds_sixty_times_a_second_of_the_quota() -> None:
    kept = windows(*[(float(second), 1_000.0) for second in range(58)])

    assert kept.earliest(59.0, 1_040.0, PER_S) == 59.0
    kept.add(59.0, 1_040.0)
    assert kept.earliest(60.025, 960.0, PER_S) == 60.025
    assert kept.earliest(60.025, 961.0, PER_S) == pytest.approx(60.05)
    assert kept.earliest(60.04, 1_961.0, PER_S) == pytest.approx(61.05)


@pytest.mark.parametrize(("apart_s", "room_at"), [(0.0099, 11.0349), (0.0101, 11.025)])
def test_slots_of_nearly_one_moment_expire_with_the_last_of_them(
    apart_s: float, room_at: float
) -> None:
    kept = windows((10.0, 500.0), (10.0 + apart_s, 500.0))

    assert kept.earliest(10.5, 500.0, PER_S) == pytest.approx(room_at)


@pytest.mark.parametrize(("apart_s", "room_at"), [(0.49, 70.54), (0.51, 70.05)])
def test_slots_of_half_a_second_leave_the_minute_together(apart_s: float, room_at: float) -> None:
    kept = windows((10.0, 30_000.0), (10.0 + apart_s, 30_000.0))

    assert kept.earliest(60.0, 30_000.0, PER_S) == pytest.approx(room_at)


def test_a_correction_counts_at_its_moment() -> None:
    kept = windows((10.0, 500.0), (10.2, 500.0))

    kept.correct(10.2, -400.0)
    assert kept.earliest(10.5, SECOND - 600, PER_S) == 10.5
    assert kept.earliest(10.5, SECOND - 599, PER_S) == pytest.approx(11.025)
    kept.correct(10.0, 100.0)

    assert kept.earliest(10.5, SECOND - 700, PER_S) == 10.5
    assert kept.earliest(10.5, SECOND - 699, PER_S) == pytest.approx(11.025)
    assert [entry.tokens for entry in kept.minute] == [700.0]


def test_a_correction_of_a_slot_among_others_finds_the_one_it_was_counted_with() -> None:
    kept = windows((10.0, 100.0), (10.004, 100.0), (10.3, 100.0))

    kept.correct(10.004, 50.0)
    kept.correct(10.3 - 5e-7, 7.0)  # as far as clocks are told apart

    assert [entry.tokens for entry in kept.second] == [250.0, 107.0]
    assert [entry.last for entry in kept.second] == [10.004, 10.3]


def test_a_correction_of_a_moment_that_is_forgotten_or_was_never_counted_is_none() -> None:
    kept = windows((10.0, 100.0))

    for moment in (9.9, 10.011, 10.2):
        kept.correct(moment, 50.0)

    assert [entry.tokens for entry in kept.second] == [100.0]


@pytest.mark.parametrize(("after_s", "left"), [(1.034, 2), (1.035, 1)])
def test_what_is_older_than_a_second_is_forgotten(after_s: float, left: int) -> None:
    kept = windows((10.0, 100.0), (10.0 + after_s, 100.0))

    assert len(kept.second) == left
    assert len(kept.minute) == 2


@given(st.lists(st.tuples(st.floats(0, 0.8), st.floats(1, 900)), max_size=60))
def test_no_second_and_no_minute_holds_more_than_it_may(slots: list[tuple[float, float]]) -> None:
    kept, now, sent = TokenWindows(), 0.0, []
    for gap_s, tokens in slots:
        now = kept.earliest(now + gap_s, tokens, 500.0)
        kept.add(now, tokens)
        sent.append((now, tokens))

    for end, largest in sent:
        for period_s, limit in ((1.025, 520.0), (60.05, 30_000.0)):
            inside = sum(tokens for at, tokens in sent if end - period_s + 1e-6 < at <= end)
            assert inside <= max(limit, largest) + 1e-6
