"""A gate lets tasks pass, holds them, or ends them with an error."""

import asyncio

import pytest

from pipeline.core.errors import OutputFailed
from pipeline.core.gate import Gate, Gates


async def test_an_open_gate_lets_everybody_pass_at_once() -> None:
    gate = Gate()

    await gate.wait()

    assert repr(gate) == "<Gate open>"


async def test_a_closed_gate_holds_tasks_until_it_is_opened() -> None:
    gate = Gate()
    gate.close()
    tasks = [asyncio.create_task(gate.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    assert (repr(gate), [task.done() for task in tasks]) == ("<Gate closed>", [False] * 3)

    gate.open()
    await asyncio.wait(tasks)

    assert [task.exception() for task in tasks] == [None] * 3


async def test_a_gate_that_is_closed_again_at_once_still_holds() -> None:
    gate = Gate()
    gate.close()
    task = asyncio.create_task(gate.wait())
    await asyncio.sleep(0)

    gate.open()
    gate.close()
    await asyncio.sleep(0.01)
    assert not task.done()
    gate.open()

    await task


async def test_a_broken_gate_ends_those_who_wait_and_those_who_come() -> None:
    gate, error = Gate(), OutputFailed("is full")
    gate.close()
    task = asyncio.create_task(gate.wait())
    await asyncio.sleep(0)

    gate.break_with(error)
    gate.break_with(OutputFailed("another"))
    gate.open()

    for waiting in (task, gate.wait()):
        with pytest.raises(OutputFailed, match="is full"):
            await waiting
    assert (gate.is_open, repr(gate)) == (False, "<Gate broken>")


async def test_of_several_gates_each_holds_tasks_and_each_may_be_broken() -> None:
    first, second = Gate(), Gate()
    gates = Gates(first, second)
    assert gates.is_open
    first.close()
    second.close()
    task = asyncio.create_task(gates.wait())
    for gate in (first, second):
        await asyncio.sleep(0)
        assert (gates.is_open, task.done()) == (False, False)
        gate.open()
    await task

    second.break_with(OutputFailed("cannot be written"))

    assert not gates.is_open
    with pytest.raises(OutputFailed, match="cannot be written"):
        await gates.wait()
