"""One schedule for all takers: which slots each gets, when, and when it is asked to come again."""

from typing import Any

import pytest
from msgspec.structs import replace

from pipeline.service.throttle.leases.ledger import Ledger
from pipeline.service.throttle.leases.messages import (
    Ask,
    Grant,
    LeaseTimes,
    Refused,
    Report,
    Served,
    Slot,
)

AT_ONCE = LeaseTimes(gather_s=0.0)
BEGUN = 5_000.0
STEP_S = 1 / 0.995
"""Seconds of the schedule for a unit at one a second."""


class Asking:
    """A ledger whose clock the test owns, and what its takers have told it."""

    def __init__(self, *quota: float | None, times: LeaseTimes = AT_ONCE) -> None:
        self.ledger = Ledger(*quota, times=times)
        self.now = 0.0
        self.epochs: dict[str, float] = {}
        self.reports: dict[str, int] = {}

    def ask(self, taker: str = "a", *wants: float, at: float | None = None, **said: Any) -> Grant:
        """Ask for slots of so many tokens."""
        self.now = self.now if at is None else at
        number = self.reports[taker] = self.reports.get(taker, 0) + 1
        report = said.pop("report", Report(0))
        if not report.number:
            report = replace(report, number=number)
        quota = {"requests_per_s": None, "tokens_per_s": None} | said
        epoch = quota.pop("epoch", self.epochs.get(taker, 0.0))
        ask = Ask(taker, wants=list(wants), report=report, epoch=epoch, **quota)
        grant = self.ledger.ask(BEGUN + self.now, ask)
        self.epochs[taker] = grant.epoch
        return grant


def moments(grant: Grant) -> list[float]:
    return [slot.at for slot in grant.slots]


def evenly(first: float, per_s: float, count: int) -> Any:
    return pytest.approx([first + n * STEP_S / per_s for n in range(count)])


# --- One taker ----------------------------------------------------------------------------------


def test_slots_are_given_evenly_up_to_a_quarter_of_a_second_ahead() -> None:
    asking = Asking(100.0)

    grant = asking.ask("a", *[0.0] * 100)

    assert grant.now == 0
    assert moments(grant) == evenly(0.0, 100, 25)


def test_who_wants_fewer_gets_fewer_and_goes_on_where_the_schedule_stands() -> None:
    asking = Asking(10.0)

    first = asking.ask("a", 0.0, 0.0)
    second = asking.ask("a", 0.0, 0.0, at=0.1)
    third = asking.ask("a", 0.0, at=5.0)

    assert moments(first) == evenly(0.0, 10, 2)
    assert moments(second) == evenly(2 * STEP_S / 10, 10, 2)
    assert moments(third) == [5.0]


def test_time_in_which_nobody_asked_is_made_up_for_by_ten_milliseconds() -> None:
    asking = Asking(1_000.0)
    asking.ask("a", 0.0)

    grant = asking.ask("a", *[0.0] * 12, at=1.0)

    assert moments(grant)[:10] == [1.0] * 10
    assert moments(grant)[10:] == evenly(1.0 - 0.01 + 10 * STEP_S / 1_000, 1_000, 2)


def test_without_a_quota_there_is_a_slot_for_everything_now() -> None:
    asking = Asking()

    grant = asking.ask("a", *[1e6] * 50, at=3.0)

    assert moments(grant) == [0.0] * 50
    assert (grant.requests_per_s, grant.tokens_per_s, grant.pause_s) == (None, None, 0)


def test_tokens_are_paced_evenly_too() -> None:
    asking = Asking(None, 1_000.0)

    grant = asking.ask("a", *[50.0] * 10)

    assert [slot.tokens for slot in grant.slots] == [50.0] * len(grant.slots)
    assert moments(grant) == evenly(0.0, 20, 5)


def test_a_second_holds_its_quota_of_tokens_though_a_slot_is_as_large() -> None:
    asking = Asking(None, 1_000.0)
    asking.ask("a", 900.0)

    early = asking.ask("a", 200.0, at=0.77)
    late = asking.ask("a", 200.0, at=0.8)

    assert moments(early) == []
    assert moments(late) == pytest.approx([1.025])


def test_the_lowest_quota_that_a_taker_knows_counts_unless_the_leaser_has_its_own() -> None:
    told, own = Asking(), Asking(70.0, 700.0)
    for asking in (told, own):
        asking.ask("a", requests_per_s=50.0, tokens_per_s=900.0)
        asking.ask("b", requests_per_s=60.0, tokens_per_s=800.0)
    grants = [asking.ask("c") for asking in (told, own)]

    assert [(one.requests_per_s, one.tokens_per_s) for one in grants] == [(50, 800), (70, 700)]
    told.ask("a", is_leaving=True)
    assert told.ask("c").requests_per_s == 60


# --- Several takers -----------------------------------------------------------------------------


def test_takers_are_served_in_turn() -> None:
    asking = Asking(40.0)
    asking.ask("a")
    asking.ask("b")

    first = asking.ask("a", *[0.0] * 20, at=0.1)
    second = asking.ask("b", *[0.0] * 20, at=0.11)
    third = asking.ask("a", *[0.0] * 20, at=0.2)
    fourth = asking.ask("b", at=0.21)

    begun = 0.09 + 11 * STEP_S / 40
    assert [len(one.slots) for one in (first, second)] == [11, 0]
    assert moments(third) == evenly(begun + STEP_S / 40, 20, 2)
    assert moments(fourth) == evenly(begun, 20, 2)


def test_a_newcomer_is_not_served_for_the_time_before_it_came() -> None:
    asking = Asking(100.0)
    for tick in range(8):
        asking.ask("a", *[0.0] * 50, at=tick / 8)

    asking.ask("b", *[0.0] * 50, at=1.0)
    given = [
        (len(asking.ask("a", *[0.0] * 50, at=at).slots), len(asking.ask("b", *[0.0] * 50).slots))
        for at in (1.125, 1.25, 1.375, 1.5)
    ]

    a, b = (sum(counts) for counts in zip(*given, strict=True))
    assert a + b >= 50
    assert abs(a - b) <= 6


def test_large_requests_count_as_what_they_take_of_the_schedule() -> None:
    """Ten requests a second, or a hundred tokens: sixty tokens are six requests."""
    asking = Asking(10.0, 100.0)
    asking.ask("large")
    asking.ask("small")
    given = {"large": 0, "small": 0}
    for tick in range(1, 200):
        given["large"] += len(asking.ask("large", *[60.0] * 5, at=tick / 10).slots)
        given["small"] += len(asking.ask("small", *[1.0] * 5).slots)

    assert given["small"] == pytest.approx(6 * given["large"], rel=0.2)


def test_a_leavers_slots_go_to_the_others() -> None:
    asking = Asking(10.0)
    asking.ask("a")
    asking.ask("b", 0.0, 0.0)
    asking.ask("a", 0.0, at=0.2)
    held = asking.ask("b", 0.0, 0.0)
    unused = list(held.slots)

    left = asking.ask("b", is_leaving=True, report=Report(0, unused=unused))
    given = asking.ask("a", *[0.0] * len(unused))

    assert left == Grant(left.now)
    assert asking.ledger.num_takers == 1
    assert given.takers == 1
    assert moments(given)[: len(unused)] == moments(held)


def test_slots_that_a_taker_did_not_fetch_are_others_when_it_dies() -> None:
    asking = Asking(4.0)
    asking.ask("a")
    asking.ask("b", *[0.0] * 3)
    asking.ask("a", at=0.2)

    assert asking.ledger.num_takers == 2
    for second in range(1, 5):
        asking.ask("a", at=second)
    assert asking.ledger.num_takers == 2
    asking.ask("a", at=4.1)

    assert asking.ledger.num_takers == 1


# --- Silence, and takers on their own -----------------------------------------------------------


def test_the_share_of_a_taker_that_is_silent_is_kept_free_until_it_is_dead() -> None:
    asking = Asking(100.0)
    for name in "abcd":
        asking.ask(name)
    for name in "abcd":
        asking.ask(name, at=0.25)  # each knows of the others now

    rates = {}
    for tick in range(3, 45):
        for name in "cd":
            asking.ask(name, at=tick / 10)
        times = moments(asking.ask("b", *[0.0] * 100))
        rates[tick] = round(1 / (times[-1] - times[-2]) / 0.995, 3)

    assert {rates[tick] for tick in range(3, 19)} == {100}
    assert {rates[tick] for tick in range(19, 43)} == {75}
    assert {rates[tick] for tick in range(43, 45)} == {100}


def test_a_silence_of_all_kills_nobody() -> None:
    asking = Asking(100.0)
    asking.ask("a")
    asking.ask("b", at=0.5)

    asking.ask("b", at=100.0)
    assert asking.ledger.num_takers == 2
    asking.ask("b", at=102.0)

    assert asking.ledger.num_takers == 2
    for tick in range(1, 10):
        asking.ask("b", at=102 + tick / 5)
    assert asking.ledger.num_takers == 1


def test_shares_are_promised_so_that_they_never_exceed_the_quota_together() -> None:
    asking = Asking(100.0)

    assert asking.ask("a").share == 1
    assert asking.ask("b").share == 0  # all is promised to another
    assert asking.ask("a").share == 0.5
    assert asking.ask("b").share == 0.5
    assert asking.ask("c").share == 0
    assert [round(asking.ask(name).share, 6) for name in "abc"] == [0.333333] * 3


def test_a_ledger_that_began_anew_leaves_room_for_those_who_send_on_their_own() -> None:
    """It gives nothing before it has gathered them, nor what they may still use."""
    asking = Asking(100.0, times=LeaseTimes())
    wants = [0.0] * 50

    def spacing(grant: Grant) -> float:
        times = moments(grant)
        return (times[-1] - times[-2]) / STEP_S

    alone = asking.ask("a", *wants, share=0.25)
    waiting = asking.ask("b", *wants, at=1.0)
    asking.ask("b", at=2.0)
    gathered = asking.ask("b", *wants, at=3.0)
    returned = asking.ask("a", *wants, share=0.25, at=3.2)
    asking.ask("a", at=4.0)
    asking.ask("b", at=4.1)
    later = asking.ask("b", *wants, at=4.3)

    assert [one.stay for one in (alone, waiting, gathered, returned)] == [True, False, False, False]
    assert [one.slots for one in (alone, waiting)] == [[], []]
    assert [alone.again_s, waiting.again_s] == [0.25, 0.25]
    assert spacing(gathered) == pytest.approx(1 / 75)
    assert spacing(later) == pytest.approx(1 / 100)


def test_a_ledger_that_began_anew_promises_nothing_before_it_knows_who_has_a_promise() -> None:
    """Others may still have one of the ledger before it."""
    asking = Asking(100.0, times=LeaseTimes())

    shares = [asking.ask(name, at=at).share for name, at in (("a", 0.0), ("a", 2.9), ("b", 2.95))]
    gathered = [asking.ask(name, at=3.0).share for name in ("a", "b")]

    assert shares == [0, 0, 0]
    assert gathered == [0.5, 0.5]


def test_what_those_use_who_send_on_their_own_is_kept_free_until_they_have_returned() -> None:
    """They go on at their old share, though a newcomer makes the fair one smaller."""
    asking = Asking(100.0, times=LeaseTimes())
    for name in "ab":
        asking.ask(name, share=0.5)
    asking.ask("new", at=2.0)
    for name in "ab":
        assert asking.ask(name, share=0.5, at=2.5).stay

    early = asking.ask("new", *[0.0] * 50, at=3.1)
    returned = [asking.ask(name, share=0.5, at=3.2) for name in "ab"]
    meanwhile = asking.ask("new", *[0.0] * 50, at=3.3)
    for name in "ab":
        asking.ask(name, at=3.5)
    later = asking.ask("new", *[0.0] * 50, at=3.6)

    assert (early.slots, early.share) == ([], 0)
    assert [(one.stay, round(one.share, 6)) for one in returned] == [(False, 0.333333)] * 2
    assert meanwhile.slots == []
    assert later.share == pytest.approx(1 / 3)
    assert later.slots


# --- Reports ------------------------------------------------------------------------------------


def test_a_slot_that_is_given_back_in_time_is_given_to_the_next() -> None:
    asking = Asking(10.0)
    grant = asking.ask("a", 0.0, 0.0, 0.0)

    again = asking.ask("a", 0.0, 0.0, at=0.05, report=Report(0, unused=grant.slots))

    assert moments(again) == moments(grant)[1:]


def test_a_slot_of_tokens_serves_a_request_that_takes_no_more() -> None:
    asking = Asking(None, 1_000.0)
    asking.ask("a", *[40.0] * 3)
    unused = [Slot(0.2, 40.0), Slot(0.1, 30.0)]

    (small,) = asking.ask("a", 35.0, at=0.05, report=Report(0, unused=unused)).slots

    assert small == Slot(0.2, 35.0)


def test_a_report_counts_once_and_only_for_the_leaser_that_it_speaks_of() -> None:
    asking = Asking(100.0)
    grant = asking.ask("a", 0.0)
    refused = [Refused("requests", grant.requests_version, 1.0)]

    asking.ask("a", report=Report(0, refused=refused), epoch=grant.epoch + 1)
    unknown = asking.ask("a")
    asking.ask("a", report=Report(9, refused=refused))
    first = asking.ask("a", report=Report(10))
    refused = [Refused("requests", first.requests_version, 1.0)]
    second = asking.ask("a", report=Report(10, refused=refused))

    assert unknown.requests_per_s == 100
    assert first.requests_per_s == 50
    assert second.requests_per_s == 50


def test_a_refusal_slows_all_takers_and_nobody_sends_during_the_pause() -> None:
    asking = Asking(100.0, 1_000.0)
    grant = asking.ask("a", 1.0)
    asking.ask("b", 1.0)
    refused = [Refused("tokens", grant.tokens_version, 0.15)]

    slowed = asking.ask("a", 1.0, at=0.5, report=Report(0, refused=refused))
    other = asking.ask("b", 1.0, at=0.52)

    assert (slowed.requests_per_s, slowed.tokens_per_s) == (100, 500)
    assert moments(slowed) == [0.65]
    assert slowed.pause_s == pytest.approx(0.15)
    assert other.pause_s == pytest.approx(0.13)
    assert min(moments(other)) > 0.65
    assert other.tokens_version != grant.tokens_version


def test_successes_let_the_rate_that_they_were_admitted_under_grow_again() -> None:
    asking = Asking(100.0, 1_000.0)
    grant = asking.ask("a")
    refused = [
        Refused("requests", grant.requests_version, 0.25),
        Refused("tokens", grant.tokens_version, 0.25),
    ]
    cut = asking.ask("a", report=Report(0, refused=refused))
    served = [Served("tokens", cut.tokens_version, 50.0)]

    asking.ask("a", at=0.4)
    grown = asking.ask("a", report=Report(0, served=served))

    assert (cut.requests_per_s, cut.tokens_per_s) == (50, 500)
    assert (grown.requests_per_s, grown.tokens_per_s) == (50, pytest.approx(500 * 1.2))


@pytest.mark.parametrize(("difference", "debt"), [(60.0, 60.0), (-15.0, -15.0), (-500.0, -20.0)])
def test_tokens_that_were_counted_otherwise_move_the_next_slots(
    difference: float, debt: float
) -> None:
    asking = Asking(None, 1_000.0)
    (slot,) = asking.ask("a", 100.0).slots
    corrections = [(slot.at, difference)]

    grant = asking.ask("a", 50.0, 50.0, report=Report(0, corrections=corrections))

    first = 0.1 * STEP_S
    assert moments(grant) == pytest.approx([first, first + (0.05 + debt / 1_000) * STEP_S])


# --- When to come again -------------------------------------------------------------------------


def test_who_wants_nothing_comes_again_after_a_second_and_who_waits_in_time_for_its_slots() -> None:
    asking = Asking(10.0)

    idle = asking.ask("a")
    few = asking.ask("a", 0.0)
    waiting = asking.ask("a", *[0.0] * 50)
    long = asking.ask("a", *[0.0] * 50, report=Report(0, refused=[Refused("requests", 1, 60.0)]))

    assert (idle.again_s, few.again_s) == (1, 1)
    assert waiting.again_s == pytest.approx(0.25 / 3)
    assert long.again_s == pytest.approx(0.3)


def test_who_was_promised_less_than_its_share_comes_again_soon() -> None:
    asking = Asking(10.0)
    asking.ask("a")

    assert asking.ask("b").again_s == 0.25


def test_wants_that_are_not_repeated_are_forgotten() -> None:
    asking = Asking(10.0)
    asking.ask("a")
    asking.ask("b", *[0.0] * 50)

    kept = asking.ask("a", *[0.0] * 50, at=0.59)
    alone = asking.ask("a", *[0.0] * 50, at=1.3)

    assert len(kept.slots) < 3
    assert len(alone.slots) >= 3


def test_slots_that_were_fetched_too_late_are_left_out() -> None:
    asking = Asking(20.0)
    asking.ask("a")
    asking.ask("b", *[0.0] * 3)
    asking.ask("a", at=0.1)
    fetched = asking.ask("b", *[0.0] * 20, at=0.5)

    assert moments(fetched) == [at for at in moments(fetched) if at > 0.48]


def test_a_ledger_shows_its_takers_and_rates() -> None:
    asking = Asking(10.0)
    asking.ask("a")

    assert repr(asking.ledger) == "<Ledger takers=1 requests_per_s=10.0 tokens_per_s=None>"
