"""Slots of our own while the leaser is lost."""

import pytest

from pipeline.service.throttle.leases.messages import Grant
from pipeline.service.throttle.leases.own_ledger import OwnLedger


@pytest.mark.parametrize(
    ("takers", "requests_per_s", "own_per_s"),
    [
        (4, 100.0, 25 * 0.95),  # a share of 95 %
        (4, 20.0, 5 * 0.85),  # 21 in a second, of which each of four may begin with one
        (4, 4.0, 0.5),  # never less than half
    ],
)
def test_the_requests_of_all_takers_stay_within_each_second(
    takers, requests_per_s, own_per_s
) -> None:
    grant = Grant(0.0, share=1 / takers, takers=takers, requests_per_s=requests_per_s)

    ledger = OwnLedger(1, grant)

    assert ledger.requests_per_s == pytest.approx(own_per_s)
    assert ledger.tokens_per_s is None


def test_tokens_are_taken_at_the_share() -> None:
    ledger = OwnLedger(1, Grant(0.0, share=0.5, takers=2, tokens_per_s=1_000.0))

    assert (ledger.requests_per_s, ledger.tokens_per_s) == (None, 475.0)


def test_slots_take_no_more_tokens_than_that() -> None:
    ledger = OwnLedger(1, Grant(0.0, share=0.5, takers=2, tokens_per_s=1_000.0))

    slots = [held.slot for tick in range(100) for held in ledger.ask(tick / 10, [50.0] * 9)]

    assert 0.9 * 475 * 10 <= sum(slot.tokens for slot in slots) <= 475 * 10.5


def test_a_refusal_slows_the_own_ledger() -> None:
    ledger = OwnLedger(1, Grant(0.0, share=1.0, takers=1, requests_per_s=100.0))
    source = ledger.source
    for tick in range(50):
        ledger.ask(tick / 10, [0.0] * 20)

    assert source.refused("requests", source.version("requests"), 1.5)
    ledger.ask(5.0, [0.0])

    assert source.grant.pause_s == 1.5
    assert source.grant.requests_per_s is not None
    assert source.grant.requests_per_s < 95


def test_without_a_promised_share_there_is_no_slot() -> None:
    ledger = OwnLedger(1, Grant(0.0, share=0.0, takers=3, requests_per_s=100.0))

    assert [ledger.ask(float(now), [10.0]) for now in range(60)] == [[]] * 60


def test_slots_are_given_at_that_rate_by_our_own_clock() -> None:
    ledger = OwnLedger(1, Grant(0.0, share=0.5, takers=2, requests_per_s=20.0))
    start = 7_000.0
    assert ledger.source.number == 1

    moments = [
        held.due
        for tick in range(100)
        for held in ledger.ask(start + tick / 10, [0.0] * 5)
        if held.source is ledger.source
    ]

    assert 0.97 * 9.5 * 10 <= len(moments) <= 9.5 * 10 + 5
    assert start <= moments[0] <= moments[-1] <= start + 10.25
    assert moments == sorted(moments)


def test_what_became_of_a_slot_is_reported_to_the_own_ledger() -> None:
    ledger = OwnLedger(1, Grant(0.0, share=1.0, takers=1, tokens_per_s=1_000.0))
    (held,) = ledger.ask(0.0, [100.0])
    held.correct(50.0)
    before = ledger.source.report

    ledger.ask(0.1, [])

    assert before.corrections == [(held.slot.at, 50.0)]
    assert (ledger.source.report.number, ledger.source.report.is_empty) == (before.number + 1, True)
