"""Several takers on one quota: never over it, all of it used, fair, whatever happens to whom."""

import asyncio
import logging
import random
from collections import Counter
from contextlib import AsyncExitStack

from hypothesis import given, settings
from hypothesis import strategies as st
from support.leasers import FakeLeaser
from support.takers import World, ended
from support.virtual_clock import on_virtual_clock, run


@on_virtual_clock
async def test_four_takers_use_the_whole_quota_evenly_and_no_more() -> None:
    world = World(FakeLeaser(100.0), 100.0)

    tasks = [asyncio.create_task(world.take_part(name)) for name in "abcd"]
    await asyncio.sleep(25)
    await ended(tasks)

    world.check()
    assert sum(world.by_taker(5, 25).values()) >= 0.98 * 2_000
    assert all(count >= 480 for count in world.by_taker(5, 25).values())


@on_virtual_clock
async def test_a_newcomer_has_its_share_at_once_and_a_leaver_gives_it_back_at_once() -> None:
    world = World(FakeLeaser(100.0), 100.0)
    first = asyncio.create_task(world.take_part("first"))
    await asyncio.sleep(10)
    second = asyncio.create_task(world.take_part("second"))
    await asyncio.sleep(10)
    await ended([second])
    await asyncio.sleep(5)
    await ended([first])

    world.check()
    assert world.by_taker(8, 10)["first"] >= 195
    assert world.by_taker(10.5, 12)["second"] >= 70
    assert world.by_taker(20.5, 22.5)["first"] >= 195


@on_virtual_clock
async def test_a_taker_that_wants_little_gets_it_and_the_others_get_the_rest() -> None:
    world = World(FakeLeaser(50.0), 50.0)

    tasks = [
        asyncio.create_task(world.take_part("small", workers=1, gap_s=0.95)),
        asyncio.create_task(world.take_part("large")),
    ]
    await asyncio.sleep(40)
    await ended(tasks)

    world.check()
    sent = world.by_taker(10, 40)
    assert sent["small"] >= 20
    assert sum(sent.values()) >= 0.97 * 1_500


@on_virtual_clock
async def test_a_dead_takers_share_goes_to_the_others_within_five_seconds() -> None:
    leaser = FakeLeaser(100.0)
    world = World(leaser, 100.0)
    tasks = [asyncio.create_task(world.take_part(name)) for name in "abcd"]
    await asyncio.sleep(10)
    killed = tasks.pop()
    leaving, leaser.ask = leaser.ask, _gone  # nothing of it arrives any more
    killed.cancel()
    await asyncio.wait([killed])
    leaser.ask = leaving
    await asyncio.sleep(10)
    await ended(tasks)

    world.check()
    assert sum(world.by_taker(15, 20).values()) >= 0.97 * 500


async def _gone(_):
    raise TimeoutError


@on_virtual_clock
async def test_without_the_leaser_takers_go_on_at_their_share_and_come_back(caplog) -> None:
    leaser = FakeLeaser(100.0)
    world = World(leaser, 100.0)
    with caplog.at_level(logging.WARNING):
        tasks = [asyncio.create_task(world.take_part(name)) for name in "abcd"]
        await asyncio.sleep(10)
        leaser.state = "gone"
        await asyncio.sleep(20)
        leaser.state = "up"
        leaser.restart()
        await asyncio.sleep(20)
        await ended(tasks)

    world.check()
    assert sum(world.by_taker(15, 30).values()) >= 0.9 * 1_500
    assert sum(world.by_taker(36, 50).values()) >= 0.97 * 1_400
    events = Counter(getattr(record, "event", "") for record in caplog.records)
    assert (events["quota.leaser_lost"], events["quota.leaser_back"]) == (4, 4)


@on_virtual_clock
async def test_a_leaser_that_begins_anew_and_is_lost_again_at_once_promises_no_quota_twice() -> (
    None
):
    """One taker has heard of the new leaser, another has the promise of the old one."""
    leaser = FakeLeaser(100.0)
    world = World(leaser, 100.0)
    tasks = [asyncio.create_task(world.take_part(name)) for name in "ab"]
    await asyncio.sleep(5)
    leaser.latency_s = 0.3
    await asyncio.sleep(1)
    leaser.restart()
    await asyncio.sleep(0.6)
    leaser.state = "gone"
    await asyncio.sleep(9)
    leaser.state, leaser.latency_s = "up", 0.002
    await asyncio.sleep(6)
    await ended(tasks)

    world.check()
    assert sum(world.by_taker(19, 21).values()) >= 0.95 * 200


@on_virtual_clock
async def test_tokens_of_all_takers_together_keep_every_second_and_minute() -> None:
    world = World(FakeLeaser(None, 150_000.0), None, 150_000.0)
    sizes = random.Random(3)

    tasks = [
        asyncio.create_task(
            world.take_part(name, tokens=lambda: sizes.choice([2_000, 9_000, 60_000, 120_000]))
        )
        for name in "abc"
    ]
    await asyncio.sleep(100)
    await ended(tasks)

    world.check()
    assert sum(amount for at, _, amount in world.sent if 20 <= at < 100) >= 0.7 * 150_000 * 80


@on_virtual_clock
async def test_tokens_that_are_fewer_than_their_bound_leave_room_for_others() -> None:
    world = World(FakeLeaser(None, 50_000.0), None, 50_000.0)
    world.counts_share = 0.25

    tasks = [asyncio.create_task(world.take_part(name, tokens=lambda: 4_000)) for name in "ab"]
    await asyncio.sleep(80)
    await ended(tasks)

    world.check()
    assert sum(amount for at, _, amount in world.sent if 20 <= at < 80) >= 0.95 * 50_000 * 60


@on_virtual_clock
async def test_a_refusal_of_one_slows_all() -> None:
    world = World(FakeLeaser(100.0), 100.0)
    world.refuse_over = 60

    tasks = [asyncio.create_task(world.take_part(name)) for name in "abcd"]
    await asyncio.sleep(60)
    await ended(tasks)

    sent = world.by_taker(20, 60)
    assert 0.8 * 60 * 40 <= sum(sent.values()) <= 61 * 40
    assert min(sent.values()) >= 0.8 * max(sent.values())
    assert world.refused <= 60


EVENTS = st.lists(
    st.tuples(
        st.floats(0.05, 4.0),
        st.sampled_from(
            ["join", "join", "leave", "die", "gone", "hangs", "up", "restart", "slow", "quick"]
        ),
    ),
    min_size=3,
    max_size=25,
)


@settings(deadline=None, max_examples=60)
@given(
    per_s=st.sampled_from([20.0, 33.0, 100.0, 300.0]),
    events=EVENTS,
    seed=st.integers(0, 1_000),
)
def test_no_window_is_ever_exceeded_whatever_happens_to_whom(per_s, events, seed) -> None:
    late = random.Random(seed)

    async def play() -> World:
        leaser = FakeLeaser(per_s)
        world = World(leaser, per_s)
        tasks = [asyncio.create_task(world.take_part(f"{number}")) for number in range(2)]
        async with AsyncExitStack():
            for number, (after_s, event) in enumerate(events):
                await asyncio.sleep(after_s)
                match event:
                    case "join" if len(tasks) < 6 and leaser.state == "up":
                        tasks.append(asyncio.create_task(world.take_part(f"n{number}")))
                    case "leave" if len(tasks) > 1:
                        await ended([tasks.pop(0)])
                    case "die" if len(tasks) > 1:
                        dying, leaser.ask = leaser.ask, _gone
                        tasks[0].cancel()
                        await asyncio.wait([tasks.pop(0)])
                        leaser.ask = dying
                    case "restart":
                        leaser.restart()
                    case "gone" | "hangs" | "up":
                        leaser.state = event
                    case "slow" | "quick":
                        leaser.latency_s = 0.3 if event == "slow" else 0.002
            await asyncio.sleep(6)
            await ended(tasks)
        return world

    world = run(play(), lateness_s=lambda: late.choice([0.0, 0.001, 0.001, 0.015]))

    world.check()
