"""The line of a throttle: who is admitted, who wakes whom, and what a shared quota is asked for."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from support.leasers import FakeLeaser
from support.virtual_clock import on_virtual_clock

from pipeline.core.settings import Pace
from pipeline.service.metrics import QuotaUse
from pipeline.service.throttle.leases.holder import LeaseHolder
from pipeline.service.throttle.leases.messages import Grant, Slot
from pipeline.service.throttle.leases.slot_queue import HeldSlot
from pipeline.service.throttle.permit import ThrottlePermit
from pipeline.service.throttle.text_kind import UNKNOWN_KIND, text_kind
from pipeline.service.throttle.throttle import Throttle


class WatchedHolder(LeaseHolder):
    """A holder that tells what it is asked for; slots are given by the test."""

    def __init__(self) -> None:
        super().__init__(FakeLeaser(), 100.0, 60_000.0)
        self.source.grant = Grant(0.0, requests_per_s=100.0, tokens_per_s=60_000.0)
        self.demand: Callable[[], Sequence[float]] = list
        self.num_woken = 0

    def follow(self, demand: Callable[[], Sequence[float]]) -> None:
        self.demand = demand

    def wake(self) -> None:
        self.num_woken += 1


def clock() -> float:
    return asyncio.get_running_loop().time()


async def waiting(throttle: Throttle, *requests: tuple[int, int]) -> list[asyncio.Task]:
    """Let requests of so many documents and tokens wait for their turn."""
    tasks = [asyncio.create_task(throttle.admit(*request)) for request in requests]
    await asyncio.sleep(0.001)
    return tasks


def end(permit: ThrottlePermit) -> None:
    with permit:
        permit.answered(None)


@on_virtual_clock
async def test_slots_are_asked_for_only_for_those_that_have_room_in_flight() -> None:
    holder = WatchedHolder()
    pace = Pace(requests_per_minute=6_000, tokens_per_minute=3_600_000, max_in_flight=3)
    throttle = Throttle(pace, leases=holder)
    assert holder.demand() == []

    tasks = await waiting(throttle, (1, 100), (1, 200), (1, 300), (1, 400))

    assert holder.demand() == [100, 200, 300]
    assert holder.num_woken >= 4
    holder.slots.add([HeldSlot(clock(), Slot(0.0, 100.0), holder.source)])
    await asyncio.sleep(0.001)
    assert holder.demand() == [200, 300]
    for task in tasks:
        task.cancel()


@on_virtual_clock
async def test_the_answers_of_a_kind_of_text_change_what_is_asked_for() -> None:
    holder = WatchedHolder()
    throttle = Throttle(Pace(requests_per_minute=6_000, tokens_per_minute=3e6), leases=holder)
    holder.slots.add([HeldSlot(0.0, Slot(0.0, 1_000.0), holder.source)])
    with await throttle.admit(1, 1_000, ["english words"] * 9) as permit:
        permit.answered(200)

    tasks = [
        asyncio.create_task(throttle.admit(1, 1_000, [text] * 9))
        for text in ("english words", "31415926")
    ]
    await asyncio.sleep(0.001)

    assert holder.demand() == [pytest.approx(220), 1_000]
    for task in tasks:
        task.cancel()


@on_virtual_clock
async def test_a_permit_is_for_its_kind_of_text_whoever_waited_for_what() -> None:
    """The first waits for the pace, the second for a place, the third for nothing.

    After the first a tenth of the quota of a second is used, so the kind of the second matters.
    """
    texts = ["english words"] * 9
    throttle = Throttle(Pace(tokens_per_minute=60_000_000, max_in_flight=1))
    first = await throttle.admit(1, 150_000, texts)
    second = asyncio.create_task(throttle.admit(1, 200, texts))
    await asyncio.sleep(0.001)
    end(first)
    permits = [first, await second]
    end(permits[1])
    await asyncio.sleep(2)
    permits.append(await throttle.admit(1, 200, texts))

    kinds = [permit.kind for permit in permits]

    assert kinds == [text_kind(texts, 150_000), text_kind(texts, 200), UNKNOWN_KIND]


@on_virtual_clock
async def test_a_place_that_becomes_free_goes_to_the_first_in_line_at_once() -> None:
    throttle = Throttle(Pace(max_in_flight=1))
    first = await throttle.admit(5, 1)
    second, third = await waiting(throttle, (6, 1), (7, 1))
    assert (throttle.in_flight, throttle.documents_in_flight) == (1, 5)

    end(first)

    assert (throttle.in_flight, throttle.documents_in_flight) == (1, 6)
    await asyncio.sleep(0.001)
    assert (second.done(), third.done()) == (True, False)
    end(second.result())
    await third
    assert throttle.documents_in_flight == 7


@on_virtual_clock
async def test_several_places_that_become_free_go_to_as_many() -> None:
    throttle = Throttle(Pace(max_in_flight=3, max_documents_in_flight=12))
    first = await throttle.admit(12, 1)
    tasks = await waiting(throttle, (4, 1), (4, 1), (4, 1), (4, 1))
    assert throttle.in_flight == 1

    end(first)
    await asyncio.sleep(0.001)

    assert [task.done() for task in tasks] == [True, True, True, False]
    tasks[-1].cancel()


@on_virtual_clock
async def test_nobody_overtakes_one_that_has_no_room() -> None:
    throttle = Throttle(Pace(max_in_flight=4, max_documents_in_flight=10))
    first = await throttle.admit(8, 1)

    large, small = await waiting(throttle, (5, 1), (1, 1))
    assert (large.done(), small.done()) == (False, False)
    end(first)
    await asyncio.sleep(0.001)

    assert (large.done(), small.done()) == (True, True)


@on_virtual_clock
async def test_whoever_is_cancelled_with_a_permit_in_hand_gives_it_to_the_next() -> None:
    throttle = Throttle(Pace(max_in_flight=1))
    first = await throttle.admit(1, 1)
    second, third = await waiting(throttle, (1, 1), (1, 1))

    end(first)
    second.cancel()  # it has its place already, but has not run since
    await asyncio.sleep(0.001)

    assert (second.cancelled(), third.done(), throttle.in_flight) == (True, True, 1)
    end(third.result())
    assert throttle.in_flight == 0


@on_virtual_clock
async def test_whoever_is_cancelled_while_it_waits_for_the_pace_lets_the_next_wait() -> None:
    throttle = Throttle(Pace(requests_per_minute=60))
    await throttle.admit(1, 1)
    second, third, fourth = await waiting(throttle, (1, 1), (1, 1), (1, 1))
    await asyncio.sleep(0.5)

    third.cancel()
    second.cancel()
    await fourth

    assert clock() == pytest.approx(1.0, abs=0.02)
    assert throttle.in_flight == 2


@on_virtual_clock
async def test_the_time_without_room_for_documents_is_counted_as_such() -> None:
    use = QuotaUse()
    throttle = Throttle(Pace(max_documents_in_flight=10), use)
    first = await throttle.admit(8, 1)
    (second,) = await waiting(throttle, (5, 1))
    await asyncio.sleep(2)
    assert throttle.quota_use_now().waits.documents_in_flight_s == pytest.approx(2, abs=0.01)
    await asyncio.sleep(3)
    end(first)
    end(await second)
    (third,) = await waiting(throttle, (9, 1))
    await asyncio.sleep(4)

    assert throttle.quota_use_now() is use
    assert use.waits.documents_in_flight_s == pytest.approx(5, abs=0.01)
    assert use.waits.in_flight_s == 0
    assert throttle.target_concurrency == Pace().max_in_flight
    end(third.result())


@on_virtual_clock
async def test_the_time_without_a_place_is_counted_as_such_though_documents_had_none_either() -> (
    None
):
    use = QuotaUse()
    throttle = Throttle(Pace(max_in_flight=1, max_documents_in_flight=10), use)
    first = await throttle.admit(8, 1)
    (second,) = await waiting(throttle, (5, 1))

    await asyncio.sleep(3)
    end(first)
    await second

    assert use.waits.documents_in_flight_s == 0
    assert use.waits.in_flight_s == pytest.approx(3, abs=0.01)


@on_virtual_clock
async def test_a_higher_bound_admits_at_once_who_waits_for_room() -> None:
    throttle = Throttle(Pace(max_in_flight=1))
    await throttle.admit(1, 1)
    second, third = await waiting(throttle, (1, 1), (1, 1))

    throttle.set_pace(Pace(max_in_flight=2))
    await asyncio.sleep(0.001)

    assert (second.done(), third.done()) == (True, False)
    assert throttle.target_concurrency == 2
    third.cancel()
