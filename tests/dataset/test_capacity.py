"""Capacity for groups in work, and reading ahead; nothing here waits for time."""

import asyncio
import threading
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.capacity import CapacityLimiter
from pipeline.dataset.offload import prefetch


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def is_waiting(task: asyncio.Task[None]) -> bool:
    await settle()
    return not task.done()


async def test_a_group_waits_while_the_most_groups_are_in_work():
    capacity = CapacityLimiter(max_groups=2, max_bytes=100)
    await capacity.acquire(1)
    await capacity.acquire(1)

    third = asyncio.create_task(capacity.acquire(1))
    assert await is_waiting(third)
    capacity.release(1)

    assert not await is_waiting(third)
    assert (capacity.groups, capacity.bytes) == (2, 2)


async def test_a_group_waits_until_there_is_capacity_for_its_bytes():
    capacity = CapacityLimiter(max_groups=9, max_bytes=100)
    await capacity.acquire(40)
    await capacity.acquire(40)

    large = asyncio.create_task(capacity.acquire(61))
    assert await is_waiting(large)
    capacity.release(40)
    assert await is_waiting(large)
    capacity.release(40)

    assert not await is_waiting(large)


async def test_a_group_larger_than_the_capacity_is_admitted_alone():
    capacity = CapacityLimiter(max_groups=9, max_bytes=100)
    await capacity.acquire(1)

    giant = asyncio.create_task(capacity.acquire(1_000))
    assert await is_waiting(giant)
    capacity.release(1)
    assert not await is_waiting(giant)
    small = asyncio.create_task(capacity.acquire(1))
    assert await is_waiting(small)
    capacity.release(1_000)

    assert not await is_waiting(small)


async def test_a_cancelled_wait_takes_no_capacity():
    capacity = CapacityLimiter(max_groups=1, max_bytes=100)
    await capacity.acquire(5)
    waiting = asyncio.create_task(capacity.acquire(7))
    await settle()

    waiting.cancel()
    await settle()

    assert waiting.cancelled()
    assert (capacity.groups, capacity.bytes) == (1, 5)
    capacity.release(5)
    await capacity.acquire(7)


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 5), st.randoms())
def test_capacity_is_never_exceeded_and_every_group_is_admitted(sizes, max_groups, random):
    async def work() -> None:
        capacity, inside, done = CapacityLimiter(max_groups=max_groups, max_bytes=60), [], []

        async def read() -> None:
            for size in sizes:
                await capacity.acquire(size)
                inside.append(size)
                assert len(inside) <= max_groups
                assert sum(inside) <= 60

        reader = asyncio.create_task(read())
        while len(done) < len(sizes):
            await settle()
            done.append(inside.pop(random.randrange(len(inside))))
            capacity.release(done[-1])
        await reader
        assert (capacity.groups, capacity.bytes) == (0, 0)

    asyncio.run(work())


class Readings:
    """Count up to `stop`; each call waits until it is allowed."""

    def __init__(self, stop: int) -> None:
        self.stop = stop
        self.begun = 0
        self.ended = 0
        self.started = threading.Event()
        self.allowed = threading.Semaphore(0)

    def __call__(self) -> int | None:
        self.begun += 1
        self.started.set()
        self.allowed.acquire()
        self.ended += 1
        return self.begun if self.begun <= self.stop else None

    def allow(self, count: int) -> None:
        self.allowed.release(count)


async def test_everything_is_read_in_order_to_the_end():
    readings = Readings(3)
    readings.allow(4)

    assert [item async for item in prefetch(readings)] == [1, 2, 3]
    assert readings.begun == 4


async def test_only_one_item_is_read_ahead():
    readings = Readings(9)
    readings.allow(9)

    async with aclosing(prefetch(readings)) as items:
        async for item in items:
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)
            assert readings.begun <= item + 1
            if item == 5:
                break

    assert readings.begun == readings.ended == 6


async def test_an_error_of_reading_is_raised_when_its_item_is_wanted():
    numbers = iter([1, 2])

    def read() -> int:
        for number in numbers:
            return number
        raise ValueError("broken")

    items = prefetch(read)

    assert [await anext(items), await anext(items)] == [1, 2]
    with pytest.raises(ValueError, match="broken"):
        await anext(items)


async def test_closing_early_drops_the_error_of_an_item_that_nobody_wants():
    numbers = iter([1])

    def read() -> int:
        for number in numbers:
            return number
        raise ValueError("broken")

    async with aclosing(prefetch(read)) as items:
        assert await anext(items) == 1


async def test_cancelling_while_a_thread_reads_waits_for_its_end():
    readings = Readings(9)

    async def consume() -> None:
        async with aclosing(prefetch(readings)) as items:
            async for _ in items:
                pass

    task = asyncio.create_task(consume())
    await asyncio.to_thread(readings.started.wait)
    task.cancel()
    waits_for_the_thread = await is_waiting(task)
    readings.allow(1)
    with pytest.raises(asyncio.CancelledError):
        await task

    assert waits_for_the_thread
    assert readings.begun == readings.ended == 1
