"""Slots in hand."""

import asyncio

import pytest
from support.virtual_clock import on_virtual_clock

from pipeline.service.throttle.leases.messages import Grant, Report, Slot
from pipeline.service.throttle.leases.slot_queue import HeldSlot, SlotQueue
from pipeline.service.throttle.leases.slot_source import SlotSource

LATE_S = 0.02


class Bench:
    """A queue, the source of its slots, and how often it was found empty."""

    def __init__(self) -> None:
        self.source = SlotSource(0, Grant(0.0), Report(1))
        self.found_empty = 0
        self.queue = SlotQueue(LATE_S, self._on_empty)

    def _on_empty(self) -> None:
        self.found_empty += 1

    def add(self, *moments: float) -> None:
        self.queue.add([HeldSlot(due, Slot(due + 5_000), self.source) for due in moments])

    @property
    def unused(self) -> list[float]:
        return [slot.at - 5_000 for slot in self.source.report.unused]


@on_virtual_clock
async def test_slots_are_taken_in_order_none_before_its_moment() -> None:
    bench, taken = Bench(), []
    bench.add(1.0, 2.5)

    for _ in range(2):
        held = await bench.queue.next()
        taken.append((held.due, asyncio.get_running_loop().time()))

    assert taken == [(1.0, pytest.approx(1.0, abs=0.001)), (2.5, pytest.approx(2.5, abs=0.001))]
    assert bench.unused == []


@on_virtual_clock
async def test_a_slot_whose_moment_has_passed_is_reported_as_unused() -> None:
    bench = Bench()
    bench.add(1.0, 2.0, 2.01)
    await asyncio.sleep(2.025)

    held = bench.queue.take()

    assert held is not None
    assert held.due == 2.01
    assert bench.unused == [1.0, 2.0]


@on_virtual_clock
async def test_a_slot_may_be_used_from_its_moment_until_it_is_too_late() -> None:
    bench = Bench()
    await asyncio.sleep(5)
    now = asyncio.get_running_loop().time()
    bench.add(now - LATE_S, now)

    taken = [bench.queue.take() for _ in range(2)]

    assert [held and held.due for held in taken] == [now - LATE_S, now]


@on_virtual_clock
async def test_who_waits_for_a_slot_is_woken_by_a_new_one() -> None:
    bench = Bench()

    waiting = asyncio.create_task(bench.queue.next())
    await asyncio.sleep(1)
    bench.add()
    await asyncio.sleep(1)
    assert not waiting.done()
    bench.add(2.5)

    assert (await waiting).due == 2.5


@on_virtual_clock
async def test_only_an_empty_queue_asks_for_more() -> None:
    bench = Bench()
    bench.add(1.0)

    bench.queue.take()
    assert bench.found_empty == 0
    await asyncio.sleep(2)
    bench.queue.take()

    assert bench.found_empty == 1


@on_virtual_clock
async def test_a_slot_that_was_not_used_is_the_next_one_again() -> None:
    bench = Bench()
    bench.add(0.0, 0.001)
    await asyncio.sleep(0.01)
    first = bench.queue.take()

    bench.queue.put_back()
    bench.queue.put_back()

    assert len(bench.queue) == 2
    assert bench.queue.take() is first


def test_before_a_slot_was_taken_there_is_none_to_put_back() -> None:
    bench = Bench()

    bench.queue.put_back()

    assert len(bench.queue) == 0


def test_what_is_given_back_is_reported_as_unused_and_what_is_cleared_is_not() -> None:
    bench = Bench()

    bench.add(1.0, 2.0)
    bench.queue.give_back()
    bench.add(3.0)
    bench.queue.clear()

    assert (len(bench.queue), bench.unused) == (0, [1.0, 2.0])
