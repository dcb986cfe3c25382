"""An even pace, to the millisecond: what passes at once, and when the next amount does."""

import asyncio

import pytest
from support.virtual_clock import on_virtual_clock

from pipeline.service.throttle.pacer import Pacer


async def passed(pacer: Pacer, *amounts: float) -> list[float]:
    """Return the seconds at which these amounts have passed, one after the other."""
    loop, times = asyncio.get_running_loop(), []
    for amount in amounts:
        await pacer.acquire(amount)
        times.append(loop.time())
    return times


@pytest.mark.parametrize(
    ("per_s", "catch_up_s"),
    [(0.5, 0.005), (10, 0.005), (19, 0.005), (20, 0.020), (90, 0.020)],
)
@on_virtual_clock
async def test_units_pass_evenly_but_for_a_little_lateness_that_is_made_up_for(
    per_s: float, catch_up_s: float
) -> None:
    step = 1 / (0.995 * per_s)

    times = await passed(Pacer(per_s), *[1] * 6)

    first = step * (1 - per_s * catch_up_s)
    assert times == pytest.approx([0, *(max(first + step * n, 0) for n in range(5))], abs=1e-4)


@on_virtual_clock
async def test_a_high_rate_passes_in_pieces_of_five_milliseconds() -> None:
    times = await passed(Pacer(1_000), *[1] * 40)

    at_start, later = times[:25], times[25:]  # a piece, and 20 ms to make up for
    assert at_start == pytest.approx([0] * 25, abs=1e-5)
    assert later == pytest.approx([0.005 / 0.995 * (1 + n // 5) for n in range(15)], abs=1e-4)


@on_virtual_clock
async def test_a_grain_passes_at_once_and_a_larger_amount_in_grains() -> None:
    """The first 40 units are a grain and 20 ms to make up for."""
    pacer = Pacer(1_000, grain=20)

    times = await passed(pacer, 100, 1, 4, 50, 20)

    whole = [60 / 995, 65 / 995, 65 / 995, 115 / 995, 135 / 995]
    assert times == pytest.approx(whole, abs=1e-4)


@on_virtual_clock
async def test_small_amounts_are_taken_from_the_piece_in_hand() -> None:
    pacer = Pacer(1_000, grain=20)
    assert not pacer.try_acquire(1)
    await pacer.acquire(2)

    assert [pacer.try_acquire(amount) for amount in (2, 2, 1, 0.5)] == [True, False, True, False]
    assert pacer.try_acquire(0)


@on_virtual_clock
async def test_what_is_left_in_hand_is_part_of_the_next_amount() -> None:
    """Of the 40 units of the start 2 are in hand, and 8 of the next piece."""
    pacer = Pacer(1_000, grain=20)
    await passed(pacer, 3, 35)

    times = await passed(pacer, 12, 10)

    assert pacer.rate == 1_000
    assert times == pytest.approx([10 / 995, 20 / 995], abs=1e-4)


@on_virtual_clock
async def test_an_amount_of_nothing_passes_at_once() -> None:
    assert await passed(Pacer(10), 0, 0, 0) == pytest.approx([0, 0, 0], abs=1e-5)


@on_virtual_clock
async def test_less_than_a_unit_takes_its_share_of_the_time() -> None:
    times = await passed(Pacer(10), 1, 0.5, 0.25)

    assert times == pytest.approx([0, 0.45 / 9.95, 0.70 / 9.95], abs=1e-4)


@on_virtual_clock
async def test_of_few_large_grains_a_second_less_lateness_is_made_up_for() -> None:
    times = await passed(Pacer(100, grain=20), 20, 20)

    assert times == pytest.approx([0, 19.5 / 99.5], abs=1e-4)
