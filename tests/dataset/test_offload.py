"""CPU-bound work: other tasks run between two steps, or all of it runs in a thread."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from pipeline.dataset.offload import run, run_steps, run_to_end


async def test_other_tasks_run_between_two_steps():
    order: list[str] = []

    def steps() -> Iterator[None]:
        for number in range(3):
            order.append(f"step {number}")
            yield

    async def answer() -> None:
        for number in range(3):
            order.append(f"answer {number}")
            await asyncio.sleep(0)

    await asyncio.gather(run_steps(steps(), aside=False), answer())

    assert order == [f"{what} {number}" for number in range(3) for what in ("step", "answer")]


async def test_aside_all_steps_run_in_one_other_thread():
    threads: list[int] = []

    def steps() -> Iterator[None]:
        for _ in range(3):
            threads.append(threading.get_ident())
            yield

    await run_steps(steps(), aside=True)

    assert len(threads) == 3
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


@pytest.mark.parametrize("aside", [False, True])
async def test_an_error_of_the_work_is_raised_where_it_is_awaited(aside):
    def fail() -> int:
        raise OSError("disk full")

    def failing_steps() -> Iterator[None]:
        yield
        fail()

    with pytest.raises(OSError, match="disk full"):
        await run(fail, aside=aside)
    with pytest.raises(OSError, match="disk full"):
        await run_steps(failing_steps(), aside=aside)


async def test_work_aside_leaves_the_event_loop_free():
    goes_on = threading.Event()

    work = asyncio.create_task(run(lambda: goes_on.wait(30), aside=True))
    await asyncio.sleep(0)
    goes_on.set()

    assert await work


async def test_a_cancelled_caller_waits_until_the_thread_has_written() -> None:
    may_end, written = threading.Event(), list[str]()

    def write() -> None:
        may_end.wait(30)
        written.append("part")

    work = asyncio.create_task(run_to_end(write))
    await asyncio.sleep(0)
    work.cancel()
    await asyncio.sleep(0)
    work.cancel()
    await asyncio.sleep(0)
    assert not work.done()
    may_end.set()

    with pytest.raises(asyncio.CancelledError):
        await work
    assert written == ["part"]
