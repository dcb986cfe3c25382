"""The limits of requests and tokens whose slots are leased, and what they report."""

import asyncio

import pytest
from support.leasers import FakeLeaser
from support.virtual_clock import on_virtual_clock

from pipeline.core.settings import Pace
from pipeline.service.throttle.leases.holder import LeaseHolder
from pipeline.service.throttle.leases.leased_quota import LeasedQuota, leased_quota
from pipeline.service.throttle.leases.messages import Grant, Refused, Served, Slot
from pipeline.service.throttle.leases.slot_queue import HeldSlot

GRANT = Grant(
    0.0,
    takers=4,
    requests_per_s=100.0,
    tokens_per_s=2_000.0,
    requests_version=7,
    tokens_version=8,
)


def leased(
    grant: Grant = GRANT, *, per_minute: float | None = 6_000
) -> tuple[LeaseHolder, LeasedQuota, LeasedQuota]:
    """Return a holder whose leaser has answered, and its limits of requests and tokens."""
    holder = LeaseHolder(FakeLeaser(), 100.0, 2_000.0)
    holder.source.grant = grant
    pace = Pace(requests_per_minute=per_minute, tokens_per_minute=per_minute)
    return holder, *leased_quota(holder, pace)


def give(holder: LeaseHolder, *slots: tuple[float, float]) -> None:
    """Put slots of so many tokens, each at its moment, into the taker's hand."""
    held = [HeldSlot(due, Slot(100 + due, tokens), holder.source) for due, tokens in slots]
    holder.slots.add(held)


def clock() -> float:
    return asyncio.get_running_loop().time()


def test_the_rates_are_those_of_all_takers_and_the_quota_is_a_fair_share() -> None:
    _, requests, tokens = leased()

    assert [one.rate.current for one in (requests, tokens)] == [100, 2_000]
    assert [one.configured for one in (requests, tokens)] == [25, 500]
    assert [one.rate.granted_per_s(0.0) for one in (requests, tokens)] == [25, 500]
    assert [one.rate.version % 100 for one in (requests, tokens)] == [7, 8]
    assert [one.is_ample(0.0, 1.0) for one in (requests, tokens)] == [False, False]
    assert not requests.rate.is_measuring
    assert requests.has_room(0.0, 1e9)
    assert requests.windows == ()
    assert repr(requests).startswith("<LeasedQuota per_s=100.0 <LeaseHolder slots=0 from=fake>")


def test_without_a_limit_nothing_is_configured_and_estimates_do_not_matter() -> None:
    _, requests, tokens = leased(Grant(0.0, takers=2))

    for one in (requests, tokens):
        assert (one.rate.current, one.configured, one.rate.granted_per_s(0.0)) == (None, None, 0)
        assert one.is_ample(0.0, 1.0)


@on_virtual_clock
async def test_a_request_takes_the_slot_whose_moment_has_come() -> None:
    holder, requests, tokens = leased()
    give(holder, (0.0, 30.0), (5.0, 30.0))

    assert requests.try_acquire(1)
    assert tokens.try_acquire(1e6)
    (held,) = tokens.enter(0.0, 45.0)
    assert not requests.try_acquire(1)
    await requests.acquire(1)
    await tokens.acquire(1e6)

    assert held.slot == Slot(100.0, 30.0)
    assert clock() == pytest.approx(5.0, abs=1e-3)
    assert holder.source.report.corrections == [(100.0, 15.0)]


@on_virtual_clock
async def test_without_a_slot_or_a_limit_of_tokens_nothing_is_entered() -> None:
    _, _, tokens = leased()
    assert tokens.enter(0.0, 45.0) == ()

    holder, requests, tokens = leased(Grant(0.0, requests_per_s=100.0))
    give(holder, (0.0, 0.0))
    assert requests.try_acquire(1)

    assert tokens.enter(0.0, 45.0) == ()
    assert holder.source.report.is_empty


@on_virtual_clock
async def test_a_slot_that_was_not_used_is_taken_by_the_next() -> None:
    holder, requests, tokens = leased()
    give(holder, (0.0, 30.0))
    assert requests.try_acquire(1)

    tokens.release(30.0)
    assert not requests.try_acquire(1)
    requests.release(1)

    assert requests.try_acquire(1)


def test_what_became_of_requests_is_reported_with_the_version_of_its_rate() -> None:
    holder, requests, tokens = leased()
    versions = requests.rate.version, tokens.rate.version
    held = HeldSlot(0.0, Slot(100.0, 30.0), holder.source)

    requests.record_wait(0.0)
    requests.record_success(0.0, 1, versions[0])
    tokens.record_success(0.0, 40.0, versions[1])
    tokens.correct([held], -3.0)
    told = [
        requests.rate.record_refusal(0.0, 1, versions[0], pause_s=0.25, for_growth=True),
        requests.rate.record_refusal(0.0, 1, versions[0], pause_s=0.25),
        tokens.rate.record_refusal(0.0, 40.0, versions[1], pause_s=2.0),
    ]

    report = holder.source.report
    assert told == [True, False, True]
    assert report.served == [Served("requests", 7, 1), Served("tokens", 8, 40.0)]
    assert report.refused == [Refused("requests", 7, 0.25), Refused("tokens", 8, 2.0)]
    assert report.corrections == [(100.0, -3.0)]


@on_virtual_clock
async def test_the_operator_slows_this_process_alone_until_the_settings_hold_again() -> None:
    holder, requests, _ = leased(per_minute=6_000)
    give(holder, *[(tick / 1_000, 0.0) for tick in range(4_000)])
    requests.set(600)
    times = []
    for _ in range(3):
        await requests.acquire(1)
        times.append(clock())
    assert not requests.try_acquire(1)
    requests.set(60)
    for _ in range(2):
        await requests.acquire(1)
        times.append(clock())
    requests.set(6_000)
    free = [requests.try_acquire(1) for _ in range(10)]
    requests.set(600)
    requests.set(None)

    assert times == pytest.approx([0, 0.0955, 0.196, 0.196, 1.196], abs=2e-3)
    assert all(free)
    assert requests.try_acquire(1)


@on_virtual_clock
async def test_what_the_operator_allows_is_not_used_up_without_a_slot() -> None:
    holder, requests, _ = leased()
    requests.set(60)
    waiting = asyncio.create_task(requests.acquire(1))
    await asyncio.sleep(0.5)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not requests.try_acquire(1)
    give(holder, (clock(), 0.0), (clock(), 0.0))

    await requests.acquire(1)
    assert clock() == pytest.approx(0.5, abs=0.01)
    requests.release(1)
    await requests.acquire(1)

    assert clock() == pytest.approx(0.5, abs=0.01)


@on_virtual_clock
async def test_the_operator_slows_the_tokens_of_this_process_too() -> None:
    _, _, tokens = leased(per_minute=6_000)
    tokens.set(600)
    held = tokens.try_acquire(1e6)
    tokens.set(6_000)
    free = [tokens.try_acquire(1e6) for _ in range(2)]

    assert (held, free) == (False, [True, True])
