"""CPU-bound work runs on the event loop or in a thread, and what writes runs to its end."""

import asyncio
import threading

import pytest

from pipeline.dataset.offload import run, run_to_end


@pytest.mark.parametrize("aside", [False, True])
async def test_an_error_of_the_work_is_raised_where_it_is_awaited(aside):
    def fail() -> int:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await run(fail, aside=aside)


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
