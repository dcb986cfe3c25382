"""A stop ends waits at once, and nothing else."""

import asyncio

import pytest

from pipeline.core.errors import CostLimitReached, Interrupted
from pipeline.core.stop import StopSwitch


async def wait_in(switch: StopSwitch, event: asyncio.Event) -> str:
    with switch.interruptible():
        await event.wait()
    return "went on"


async def started(*tasks: asyncio.Task[str]) -> None:
    """Let the tasks run until they wait."""
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


async def test_every_wait_and_every_later_one_raises_the_error() -> None:
    switch, never, error = StopSwitch(), asyncio.Event(), CostLimitReached("enough")
    async with asyncio.TaskGroup() as tasks:
        waits = [tasks.create_task(failure_of(wait_in(switch, never))) for _ in range(3)]
        await started(*waits)
        switch.stop(error)
        switch.stop(Interrupted(15))

    assert [wait.result() for wait in waits] == [error] * 3
    assert await failure_of(wait_in(switch, never)) is error
    with pytest.raises(CostLimitReached):
        switch.raise_if_stopped()


async def failure_of(work) -> object:
    try:
        return await work
    except CostLimitReached as error:
        return error


async def test_what_is_awaited_outside_a_block_goes_on() -> None:
    switch, event = StopSwitch(), asyncio.Event()

    async def wait_after_a_block() -> str:
        with switch.interruptible():
            await asyncio.sleep(0)
        await event.wait()
        return "went on"

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(wait_after_a_block())
        await started(task)
        await started(task)
        switch.stop(Interrupted(15))
        await started(task)
        event.set()

    assert task.result() == "went on"


async def test_a_task_that_somebody_else_cancelled_stays_cancelled() -> None:
    switch, never = StopSwitch(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(wait_in(switch, never))
        await started(task)
        task.cancel()
        switch.stop(Interrupted(15))

    assert task.cancelled()


async def test_a_wait_that_ended_just_before_the_stop_is_interrupted_or_done_but_never_both() -> (
    None
):
    """The event is set and the stop comes before the task has had its turn."""
    switch, event = StopSwitch(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(failure_of(wait_in(switch, event)))
        await started(task)
        event.set()
        switch.stop(CostLimitReached("enough"))

    assert isinstance(task.result(), CostLimitReached)
    assert task.cancelling() == 0


def test_before_a_stop_nothing_is_raised() -> None:
    StopSwitch().raise_if_stopped()


async def test_a_wait_may_have_two_switches_and_raises_the_error_of_the_first_that_stops() -> None:
    switch, other, never = StopSwitch(), StopSwitch(), asyncio.Event()

    async def wait() -> None:
        with switch.interruptible(other):
            await never.wait()

    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(failure_of(wait()))
        await asyncio.sleep(0)
        other.stop(CostLimitReached("enough"))
        switch.stop(CostLimitReached("too late"))

    assert str(waiting.result()) == "enough"
    assert (len(switch.waits), len(other.waits)) == (0, 0)
    assert str(await failure_of(wait())) == "too late"


async def test_who_asked_to_be_told_is_told_once() -> None:
    switch, told = StopSwitch(), list[str]()
    switch.on_stop.append(lambda: told.append("stopped"))

    switch.stop(CostLimitReached("enough"))
    switch.stop(Interrupted(15))

    assert told == ["stopped"]
