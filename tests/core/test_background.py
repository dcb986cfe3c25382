"""Work beside a body: it ends with the body, and its failure ends the body."""

import asyncio

import pytest

from pipeline.core.background import background


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise KeyError("of the work")


async def test_work_is_cancelled_and_awaited_when_the_body_ends() -> None:
    ended = []

    async def work() -> None:
        try:
            await wait_for_ever()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async with background(work(), name="work") as task:
        await asyncio.sleep(0)

    assert task.cancelled()
    assert ended == [True]


async def test_a_failure_of_the_work_cancels_the_body_and_is_raised() -> None:
    with pytest.raises(KeyError, match="of the work"):
        async with background(fail(), name="work"):
            await wait_for_ever()


async def test_an_error_of_the_body_is_raised_as_it_is() -> None:
    cause = ValueError("its cause")

    with pytest.raises(RuntimeError, match="of the body") as raised:
        async with background(wait_for_ever(), name="work"):
            raise RuntimeError("of the body") from cause

    assert raised.value.__cause__ is cause


async def test_an_error_group_of_the_body_stays_a_group() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with background(wait_for_ever(), name="work"), asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())

    assert [type(error) for error in raised.value.exceptions] == [KeyError]


async def test_a_body_that_is_cancelled_stays_cancelled() -> None:
    async def body() -> None:
        async with background(wait_for_ever(), name="work"):
            await wait_for_ever()

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(body())
        await asyncio.sleep(0)
        running.cancel()

    assert running.cancelled()


async def test_work_may_end_before_the_body() -> None:
    async with background(asyncio.sleep(0), name="work") as task:
        await task

    assert not task.cancelled()
