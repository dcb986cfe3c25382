"""One quota: its pace at a learned rate, its windows, and what corrections are worth."""

import asyncio

import pytest
from support.virtual_clock import on_virtual_clock

from pipeline.service.throttle.quota import Quota

STEP_S = 1 / 0.995
"""Seconds between two units at one a second: the share of a rate that is used."""


async def passed(quota: Quota, *amounts: float) -> list[float]:
    """Return the seconds from now at which these amounts have passed, one after the other."""
    clock, times = asyncio.get_running_loop().time, []
    begun = clock()
    for amount in amounts:
        await quota.acquire(amount)
        times.append(clock() - begun)
    return times


def tokens(per_s: float) -> Quota:
    return Quota(60 * per_s, grain_s=0.020)


def refuse(quota: Quota, now: float = 0.0) -> float:
    """Refuse what is sent now; return the rate after that."""
    assert quota.rate.record_refusal(now, 1, quota.rate.version, pause_s=0.25)
    assert quota.rate.current is not None
    return quota.rate.current


# --- The pace -----------------------------------------------------------------------------------


@on_virtual_clock
async def test_a_quota_of_requests_passes_them_one_by_one() -> None:
    times = await passed(Quota(600), *[1] * 4)

    assert times == pytest.approx([0, 0.0955, 0.196, 0.2965], abs=1e-4)


@on_virtual_clock
async def test_a_quota_of_tokens_passes_twenty_milliseconds_of_them_at_once() -> None:
    times = await passed(tokens(1_000), 40, 20, 20, 100)

    assert times == pytest.approx([0, 0.0201, 0.0402, 0.1407], abs=1e-3)


@on_virtual_clock
async def test_an_unknown_quota_lets_everything_pass() -> None:
    quota = Quota(None, grain_s=0.020)

    assert await passed(quota, 1e9, 1e9) == [0, 0]
    assert quota.try_acquire(1e9)
    assert quota.has_room(0.0, 1e9)
    assert quota.is_ample(0.0, 1e9)
    assert quota.enter(0.0, 1e9) == ()
    assert (quota.windows, quota.configured, quota.rate.current) == ((), None, None)


@on_virtual_clock
async def test_at_a_lower_rate_than_configured_each_unit_takes_its_time() -> None:
    quota = Quota(600)
    await passed(quota, 1, 1)
    rate = refuse(quota)
    assert rate == pytest.approx(8.5)

    times = await passed(quota, *[1] * 3)

    assert times == pytest.approx([STEP_S / rate * n for n in (1, 2, 3)], abs=1e-3)


@on_virtual_clock
async def test_a_learned_rate_keeps_its_pacer_while_it_grows_up_to_four_times() -> None:
    quota = Quota(None)
    refuse(quota)
    assert quota.rate.current == pytest.approx(3.2)
    await passed(quota, 1, 1)

    quota.rate.current = 4 * 3.2
    slow_start = await passed(quota, 1)
    quota.rate.current = 4 * 3.2 + 0.1
    anew = await passed(quota, 1, 1)

    assert slow_start == pytest.approx([STEP_S / 12.8], abs=1e-3)
    per_s = 4 * 12.9  # of the new pacer, of which each unit takes four
    at_start = 1 + 0.02 * per_s
    first = (4 - at_start) * STEP_S / per_s
    assert anew == pytest.approx([first, first + 4 * STEP_S / per_s], abs=1e-3)


@on_virtual_clock
async def test_what_is_in_hand_is_taken_without_waiting() -> None:
    quota = tokens(1_000)
    assert not quota.try_acquire(1)  # the first amount makes the pace
    await passed(quota, 1)  # of a piece of 5

    assert [quota.try_acquire(amount) for amount in (3, 2, 1, 1)] == [True, False, True, False]


@on_virtual_clock
async def test_at_a_lower_rate_less_is_taken_without_waiting() -> None:
    quota = tokens(1_000)
    await passed(quota, 1)
    refuse(quota)
    assert quota.rate.current == pytest.approx(850)

    assert [quota.try_acquire(amount) for amount in (3.5, 3.3, 0.2)] == [False, True, False]


@on_virtual_clock
async def test_a_rate_beyond_that_of_the_pace_waits_for_a_new_pace() -> None:
    quota = Quota(None, grain_s=0.020)
    quota.rate.current = 1_000.0
    await passed(quota, 1)
    quota.rate.current = 4_000.0
    assert quota.try_acquire(1)

    quota.rate.current = 4_001.0

    assert not quota.try_acquire(1)


# --- Debts --------------------------------------------------------------------------------------


@on_virtual_clock
async def test_an_amount_that_was_given_back_shortens_the_next_wait() -> None:
    quota = tokens(1_000)
    await passed(quota, 40)
    quota.release(30)

    assert await passed(quota, 50, 20) == pytest.approx([0.0201, 0.0402], abs=1e-3)


@on_virtual_clock
async def test_what_is_given_back_serves_amounts_until_it_is_used_up() -> None:
    quota = tokens(1_000)
    await passed(quota, 40)
    quota.release(30)
    assert quota.try_acquire(10)

    assert await passed(quota, 10, 30) == pytest.approx([0, 0.0201], abs=1e-3)


@on_virtual_clock
async def test_more_than_was_estimated_is_waited_for_by_the_next_amount() -> None:
    quota = tokens(1_000)
    await passed(quota, 20)
    quota.correct((), 50)

    assert not quota.try_acquire(0)
    assert await passed(quota, 20, 20) == pytest.approx([50 / 995, 70 / 995], abs=1e-3)


@pytest.mark.parametrize("difference", [-20, -1_000])
@on_virtual_clock
async def test_less_than_was_estimated_is_worth_twenty_milliseconds_at_most(
    difference: float,
) -> None:
    quota = tokens(1_000)
    await passed(quota, 40)
    quota.correct((), difference)

    assert await passed(quota, 40) == pytest.approx([20 / 995], abs=1e-3)


@on_virtual_clock
async def test_at_a_lower_rate_an_estimate_that_was_too_high_is_worth_less() -> None:
    quota = tokens(1_000)
    await passed(quota, 40)
    rate = refuse(quota)
    quota.correct((), -1_000)

    assert await passed(quota, 17 + 17) == pytest.approx([17 / rate * STEP_S], abs=1e-3)


@on_virtual_clock
async def test_a_credit_beyond_twenty_milliseconds_is_kept_but_not_enlarged() -> None:
    quota = tokens(1_000)
    await passed(quota, 40)
    quota.release(100)
    quota.correct((), -1_000)

    assert await passed(quota, 100, 20) == pytest.approx([0, 20 / 995], abs=1e-3)


@on_virtual_clock
async def test_an_estimate_before_the_first_wait_is_worth_nothing() -> None:
    quota = tokens(1_000)
    quota.correct((), 500)
    quota.release(500)

    assert await passed(quota, 40, 20) == pytest.approx([0, 20 / 995], abs=1e-3)


@on_virtual_clock
async def test_whoever_stops_waiting_owes_nothing() -> None:
    quota = tokens(1_000)
    await passed(quota, 40)
    quota.release(10)
    for _ in range(3):
        waiting = asyncio.create_task(quota.acquire(20_000))
        await asyncio.sleep(0.001)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    left_s = 10 / 995 - 3 * 0.001  # of the wait for what was not given back
    assert await passed(quota, 20, 10) == pytest.approx([left_s, left_s + 10 / 995], abs=1e-4)


# --- Windows ------------------------------------------------------------------------------------


def test_the_last_second_and_minute_bound_what_is_entered() -> None:
    quota = tokens(1_000)
    quota.enter(0.0, 1_000)
    assert quota.has_room(0.5, 10)
    assert not quota.has_room(0.5, 11)
    assert quota.has_room(1.0, 1_010)

    for second in range(1, 60):
        quota.enter(float(second), 1_000)

    assert not quota.has_room(59.999, 1)
    assert not quota.has_room(59.5, 1)
    assert quota.has_room(60.0, 1_000)


def test_a_quota_of_requests_keeps_no_windows() -> None:
    quota = Quota(60)

    assert quota.enter(0.0, 1_000) == ()
    assert quota.has_room(0.0, 1_000)


def test_a_correction_counts_in_both_windows() -> None:
    quota = tokens(1_000)
    entries = quota.enter(0.0, 1_000)

    quota.correct(entries, -400)

    assert [window.has_room(0.5, 410) for window in quota.windows] == [True, True]
    assert [window.has_room(0.5, 411) for window in quota.windows] == [False, True]
    assert quota.windows[1].has_room(0.5, 59_400)
    assert not quota.windows[1].has_room(0.5, 59_401)


def test_estimates_do_not_matter_while_a_tenth_of_both_windows_is_used() -> None:
    quota = tokens(1_000)
    quota.enter(0.0, 91)

    assert quota.is_ample(0.5, 10)
    assert not quota.is_ample(0.5, 11)

    for second in range(1, 60):
        quota.enter(float(second), 100)
    assert quota.is_ample(60.5, 9)
    assert not quota.is_ample(60.5, 120)


def test_estimates_matter_at_a_learned_rate() -> None:
    quota = tokens(1_000)
    assert quota.is_ample(0.0, 1)

    refuse(quota)

    assert not quota.is_ample(0.0, 1)


# --- Other settings -----------------------------------------------------------------------------


def test_another_quota_forgets_what_was_learned_and_keeps_what_was_sent() -> None:
    quota = tokens(1_000)
    before = quota.rate.version
    refuse(quota)
    learned, version = quota.rate.current, quota.rate.version
    quota.enter(0.0, 1_000)

    quota.set(60_000)
    assert (quota.rate.current, quota.rate.version) == (learned, version)
    quota.set(120_000)

    assert (quota.configured, quota.rate.current) == (2_000, 2_000)
    assert len({before, version, quota.rate.version}) == 3
    assert quota.has_room(0.5, 1_020)
    assert not quota.has_room(0.5, 1_021)


@on_virtual_clock
async def test_another_quota_has_a_pace_of_its_own() -> None:
    quota = Quota(600)
    await passed(quota, 1, 1)

    quota.set(60)

    assert await passed(quota, 1, 1) == pytest.approx([0, 0.995 * STEP_S], abs=1e-3)


def test_a_quota_that_is_lifted_keeps_no_windows() -> None:
    quota = tokens(1_000)
    quota.enter(0.0, 1e6)

    quota.set(None)

    assert (quota.windows, quota.configured, quota.rate.current) == ((), None, None)
    assert quota.has_room(0.0, 1e6)


# --- Growth -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after_s", "grows"), [(0.9, True), (1.1, False)])
def test_a_rate_binds_for_a_second_after_a_request_had_to_wait(after_s: float, grows: bool) -> None:
    quota = Quota(None)
    before = refuse(quota)
    quota.record_wait(5.0)

    quota.record_success(5.0 + after_s, 1, quota.rate.version)

    assert quota.rate.current is not None
    assert (quota.rate.current > before) == grows


def test_a_new_rate_does_not_bind() -> None:
    quota = Quota(None)
    before = refuse(quota)

    quota.record_success(0.1, 1, quota.rate.version)

    assert quota.rate.current == before


def test_a_quota_shows_its_rates() -> None:
    quota = Quota(100)

    assert repr(quota) == "<Quota per_s=1.7 configured_per_s=1.7>"
    assert repr(Quota(None)) == "<Quota per_s=None configured_per_s=None>"
