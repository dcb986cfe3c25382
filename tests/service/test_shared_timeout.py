"""Many waits share one time limit and one timer."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.virtual_clock import run

from pipeline.service.shared_timeout import SharedTimeout

LIMIT_S = 10.0
seconds = st.floats(0.0, 30.0).filter(lambda duration: abs(duration - LIMIT_S) > 0.01)


async def ended_after(limit: SharedTimeout, starts_s: float, takes_s: float) -> tuple[str, float]:
    """How a wait ended that begins later, and how long it took."""
    clock = asyncio.get_running_loop().time
    await asyncio.sleep(starts_s)
    began = clock()
    try:
        with limit.begin():
            await asyncio.sleep(takes_s)
    except TimeoutError:
        return "over", clock() - began
    return "done", clock() - began


@given(st.lists(st.tuples(st.floats(0.0, 30.0), seconds), min_size=1, max_size=20))
def test_each_wait_has_the_whole_time_and_no_more(waits: list[tuple[float, float]]) -> None:
    async def main() -> list[tuple[str, float]]:
        limit = SharedTimeout(LIMIT_S)
        return await asyncio.gather(*(ended_after(limit, *wait) for wait in waits))

    for (_, takes_s), (how, took_s) in zip(waits, run(main()), strict=True):
        assert how == ("over" if takes_s > LIMIT_S else "done")
        assert took_s == pytest.approx(min(takes_s, LIMIT_S), abs=0.01)


def test_a_task_that_is_cancelled_is_cancelled_and_does_not_time_out() -> None:
    async def main() -> bool:
        task = asyncio.create_task(ended_after(SharedTimeout(LIMIT_S), 0.0, 30.0))
        await asyncio.sleep(5.0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run(main())


def test_a_task_that_is_cancelled_when_its_time_is_over_is_cancelled() -> None:
    async def main() -> bool:
        limit = SharedTimeout(LIMIT_S)
        task = asyncio.create_task(ended_after(limit, 0.0, 30.0))
        asyncio.get_running_loop().call_later(LIMIT_S, task.cancel)  # in the same turn of the loop
        await asyncio.wait([task])
        return task.cancelled()

    assert run(main(), lateness_s=lambda: 0.1)


def test_a_task_goes_on_after_its_time_was_over() -> None:
    async def main() -> list[str]:
        limit = SharedTimeout(LIMIT_S)
        return [(await ended_after(limit, 0.0, takes_s))[0] for takes_s in (30.0, 1.0, 30.0)]

    assert run(main()) == ["over", "done", "over"]


def test_there_is_one_timer_however_many_wait() -> None:
    async def main() -> int:
        limit, loop = SharedTimeout(LIMIT_S), asyncio.get_running_loop()
        timers, call_at = [], loop.call_at

        def counted(*arguments, **options):  # type: ignore[no-untyped-def]
            timers.append(call_at(*arguments, **options))
            return timers[-1]

        loop.call_at = counted  # type: ignore[method-assign]
        for _ in range(100):
            with limit.begin():
                await asyncio.sleep(0)
        return len(timers)

    assert run(main()) == 1
