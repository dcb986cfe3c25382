"""The moments of the slots of a quota."""

import pytest

from pipeline.service.throttle.leases.learned_rate import LearnedRate
from pipeline.service.throttle.leases.messages import Slot
from pipeline.service.throttle.leases.schedule import SlotSchedule

FAR = 1e6


def schedule_of(requests_per_s: float | None, tokens_per_s: float | None = None) -> SlotSchedule:
    requests, tokens = LearnedRate(), LearnedRate()
    requests.configure(requests_per_s)
    tokens.configure(tokens_per_s)
    return SlotSchedule(requests, tokens)


def book(schedule: SlotSchedule, now: float, tokens: float = 0.0, free: float = 1.0) -> float:
    slot = schedule.book(now, FAR, tokens, free)
    assert slot is not None
    return slot.at


def test_slots_follow_each_other_at_the_rate() -> None:
    schedule = schedule_of(10.0)

    moments = [book(schedule, 5.0) for _ in range(100)]

    assert moments[0] == 5.0
    assert moments[-1] == pytest.approx(5.0 + 99 / 9.95, abs=0.02)


def test_a_share_of_the_quota_takes_longer() -> None:
    schedule = schedule_of(10.0)

    moments = [book(schedule, 5.0, free=0.25) for _ in range(11)]

    assert moments[-1] - moments[0] == pytest.approx(10 / (0.25 * 9.95), abs=0.02)


def test_a_slot_that_is_too_far_ahead_is_not_given_and_costs_nothing() -> None:
    schedule = schedule_of(1.0)
    book(schedule, 0.0)

    refused = schedule.book(0.0, 0.25, 0.0, 1.0)

    assert refused is None
    assert book(schedule, 0.0) == pytest.approx(1.0, abs=0.01)


def test_idle_time_is_not_made_up_for() -> None:
    schedule = schedule_of(10.0)
    book(schedule, 0.0)

    moments = [book(schedule, 60.0) for _ in range(3)]

    assert moments == pytest.approx([60.0, 60.09, 60.19], abs=0.01)


def test_a_slot_that_was_given_back_is_the_next_one_to_be_given() -> None:
    schedule = schedule_of(10.0)
    first, second = book(schedule, 0.0), book(schedule, 0.0)

    schedule.give_back([Slot(second), Slot(first)])
    schedule.drop_passed(-1.0)

    assert [book(schedule, 0.0), book(schedule, 0.0)] == [first, second]


def test_a_slot_that_was_given_back_too_late_is_not_given_again() -> None:
    schedule = schedule_of(10.0)
    first = book(schedule, 0.0)

    schedule.give_back([Slot(first)])
    schedule.drop_passed(first)

    assert book(schedule, 0.0) > first


def test_a_larger_request_does_not_fit_a_slot_that_was_given_back() -> None:
    schedule = schedule_of(None, 1_000.0)
    at = book(schedule, 0.0, tokens=10.0)

    schedule.give_back([Slot(at, 10.0)])

    assert book(schedule, 0.0, tokens=11.0) > at
    assert book(schedule, 0.0, tokens=10.0) == at


def test_a_slot_that_is_given_again_counts_the_tokens_of_its_new_request() -> None:
    schedule = schedule_of(None, 1_000.0)
    at = book(schedule, 0.0, tokens=900.0)
    schedule.give_back([Slot(at, 900.0)])

    again = schedule.book(0.0, FAR, 100.0, 1.0)

    assert again == Slot(at, 100.0)
    assert book(schedule, 0.0, tokens=900.0) == pytest.approx(0.9 / 0.995)


def test_no_slot_is_within_a_pause() -> None:
    schedule = schedule_of(10.0)
    schedule.give_back([Slot(1.0), Slot(3.0)])
    schedule.pause_until = 2.0

    assert [book(schedule, 0.0) for _ in range(2)] == [3.0, 2.0]
    assert schedule.next_at > 2.0


def test_what_was_counted_beyond_the_estimate_delays_the_next_slots() -> None:
    exact, over = schedule_of(None, 1_000.0), schedule_of(None, 1_000.0)

    ends = []
    for schedule, difference in ((exact, 0.0), (over, 500.0)):
        at = book(schedule, 0.0, tokens=100.0)
        schedule.correct(at, difference)
        ends.append([book(schedule, 0.0, tokens=100.0) for _ in range(3)][-1])

    assert ends[1] - ends[0] == pytest.approx(0.5, abs=0.1)


def test_the_tokens_of_a_slot_that_lapsed_leave_room_for_others() -> None:
    kept, lapsed = schedule_of(None, 1_000.0), schedule_of(None, 1_000.0)
    for schedule in (kept, lapsed):
        at = book(schedule, 0.0, tokens=1_000.0)
    lapsed.lapse(Slot(at, 1_000.0))

    assert book(lapsed, 0.0, tokens=1_000.0) == pytest.approx(1 / 0.995)
    assert book(kept, 0.0, tokens=1_000.0) == pytest.approx(1.025, abs=0.001)
