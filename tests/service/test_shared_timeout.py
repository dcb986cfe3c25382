"""Many waits share one time limit and one timer."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.virtual_clock import on_virtual_clock, run

from pipeline.service.shared_timeout import SharedTimeout

LIMIT_S = 10.0
seconds = st.floats(0.0, 30.0).filter(lambda duration: abs(duration - LIMIT_S) > 0.01)


async def end_of(shared: SharedTimeout, starts_s: float, takes_s: float) -> tuple[str, float]:
    """How a wait ended that begins later, and how long it took."""
    clock = asyncio.get_running_loop().time
    await asyncio.sleep(starts_s)
    began = clock()
    try:
        with shared.begin():
            await asyncio.sleep(takes_s)
    except TimeoutError:
        return "expired", clock() - began
    return "done", clock() - began


@given(st.lists(st.tuples(st.floats(0.0, 30.0), seconds), min_size=1, max_size=20))
def test_each_wait_has_the_whole_time_and_no_more(waits: list[tuple[float, float]]) -> None:
    async def main() -> list[tuple[str, float]]:
        timeout = SharedTimeout(LIMIT_S)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(end_of(timeout, *wait)) for wait in waits]
        return [task.result() for task in tasks]

    for (_, takes_s), (how, took_s) in zip(waits, run(main()), strict=True):
        assert how == ("expired" if takes_s > LIMIT_S else "done")
        assert took_s == pytest.approx(min(takes_s, LIMIT_S), abs=0.01)


@on_virtual_clock
async def test_a_task_that_is_cancelled_is_cancelled_and_does_not_time_out() -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(end_of(SharedTimeout(LIMIT_S), 0.0, 30.0))
        await asyncio.sleep(5.0)
        task.cancel()

    assert task.cancelled()


def test_a_task_that_is_cancelled_when_its_time_is_over_is_cancelled() -> None:
    async def main() -> bool:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(end_of(SharedTimeout(LIMIT_S), 0.0, 30.0))
            asyncio.get_running_loop().call_later(LIMIT_S, task.cancel)  # in the same iteration
        return task.cancelled()

    assert run(main(), lateness_s=lambda: 0.1)


@on_virtual_clock
async def test_a_task_goes_on_after_its_time_was_over() -> None:
    timeout = SharedTimeout(LIMIT_S)

    ends = [(await end_of(timeout, 0.0, takes_s))[0] for takes_s in (30.0, 1.0, 30.0)]

    assert ends == ["expired", "done", "expired"]


@on_virtual_clock
async def test_there_is_one_timer_however_many_wait() -> None:
    timeout, loop = SharedTimeout(LIMIT_S), asyncio.get_running_loop()
    timers, call_at = [], loop.call_at

    def counted(*arguments, **options):  # type: ignore[no-untyped-def]
        timers.append(call_at(*arguments, **options))
        return timers[-1]

    loop.call_at = counted  # type: ignore[method-assign]
    for _ in range(100):
        with timeout.begin():
            await asyncio.sleep(0)

    assert len(timers) == 1
