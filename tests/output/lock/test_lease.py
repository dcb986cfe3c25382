"""A lease in a store with its own clock, and owners that sleep, die or lose the network."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.core.errors import OutputFailed
from pipeline.output.lock.lease import Lease
from pipeline.output.lock.owner_process import Owner, read_owner
from pipeline.storage.files import StoredObject, Version


class World:
    """A store with its own clock, and machines whose clocks go their own ways."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.there: StoredObject | None = None
        self.writes = 0
        self.refused_writes = 0
        self.reachable = True
        self.lost_answers = 0

    async def read(self) -> StoredObject | None:
        self._reach()
        return self.there

    async def write(self, content: bytes, expected: Version | None) -> Version | None:
        self._reach()
        if (self.there.version if self.there else None) != expected:
            self.refused_writes += 1
            return None
        self.writes += 1
        if self.there is not None:
            assert content != self.there.content, "a store may tell versions by the content"
        self.there = StoredObject(content, Version(str(self.writes)), await self.now())
        if self.lost_answers:
            self.lost_answers -= 1
            raise OutputFailed("time-out")
        return self.there.version

    async def now(self) -> datetime:
        return datetime(2001, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    @property
    def owner(self) -> Owner:
        """Whom the lease names."""
        assert self.there is not None
        owner = read_owner(self.there.content)
        assert owner is not None
        return owner

    def _reach(self) -> None:
        if not self.reachable:
            raise OutputFailed("out of reach")

    def lease(self, pid: int, steps: Callable[[], None] = lambda: None) -> Lease:
        """Make a run's lease; while it sleeps the time passes and `steps` happen."""

        async def sleep(seconds: float) -> None:
            self.seconds += seconds
            steps()
            await asyncio.sleep(0)

        owner = Owner(host="here", pid=pid, since="then")
        return Lease(self, owner, sleep=sleep, monotonic=lambda: self.seconds + 1e6 * pid)


async def test_a_lease_is_taken_by_one_run_alone() -> None:
    world = World()

    assert await world.lease(1).try_acquire()
    assert not await world.lease(2).try_acquire()
    assert world.owner.pid == 1


async def test_a_released_lease_is_free_at_once() -> None:
    world = World()
    first = world.lease(1)
    await first.try_acquire()
    await first.release()

    assert await world.lease(2).try_acquire()


async def test_a_dead_runs_lease_is_free_after_a_minute_by_the_stores_clock() -> None:
    world = World()
    await world.lease(1).try_acquire()

    world.seconds = 59.0
    assert not await world.lease(2).try_acquire()
    world.seconds = 61.0
    assert await world.lease(2).try_acquire()


async def test_of_two_runs_that_find_an_expired_lease_one_gets_it() -> None:
    world = World()
    await world.lease(1).try_acquire()
    world.seconds = 61.0

    async with asyncio.TaskGroup() as tasks:
        taking = [tasks.create_task(world.lease(pid).try_acquire()) for pid in (2, 3, 4)]

    assert sorted(task.result() for task in taking) == [False, False, True]


async def test_a_renewed_lease_never_expires() -> None:
    world = World()
    refused: list[bool] = []

    def steps() -> None:
        if world.seconds > 3_600:
            raise TimeoutError

    lease = world.lease(1, steps)
    await lease.try_acquire()
    keeping = asyncio.create_task(lease.keep())
    while not keeping.done():
        refused.append(await world.lease(2).try_acquire())
        await asyncio.sleep(0)

    assert isinstance(keeping.exception(), TimeoutError)
    assert len(refused) > 100
    assert not any(refused)


async def test_a_renewal_is_one_write_and_is_counted() -> None:
    world = World()

    def steps() -> None:
        if world.seconds > 100:
            raise TimeoutError

    lease = world.lease(1, steps)
    assert await lease.holder() is None
    await lease.try_acquire()
    with pytest.raises(TimeoutError):
        await lease.keep()
    assert (world.writes, world.owner.renewals) == (7, 6)
    await lease.release()

    assert (world.writes, world.refused_writes, world.owner.released) == (8, 0, True)


@pytest.mark.parametrize("content", [None, b"damaged"])
async def test_an_owner_whose_lease_was_removed_or_damaged_has_lost_it(
    content: bytes | None,
) -> None:
    world = World()
    lease = world.lease(1)
    await lease.try_acquire()
    there = None if content is None else StoredObject(content, Version("other"), await world.now())
    world.there = there

    await lease.keep()  # returns: it is lost

    await lease.release()
    assert world.there == there, "what stands there now is left alone"


async def test_an_owner_that_slept_finds_its_lease_taken_at_its_next_renewal() -> None:
    world = World()
    asleep = world.lease(1)
    await asleep.try_acquire()
    world.seconds += 100
    other = world.lease(2)
    assert await other.try_acquire()

    await asleep.keep()  # returns: it is lost

    await asleep.release()
    holder = await other.holder()
    assert holder is not None
    assert (holder.pid, holder.released) == (2, False), "the other's lease is left alone"


@pytest.mark.parametrize("outage_s", [61, 300, 500])
async def test_an_owner_out_of_reach_pauses_before_others_may_take_over_and_then_goes_on(
    outage_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    closed_at: list[float] = []

    def steps() -> None:
        world.reachable = not 20 < world.seconds < 20 + outage_s
        if not lease.gate.is_open:
            closed_at.append(world.seconds)
        if world.seconds > 40 + outage_s:
            raise TimeoutError

    lease = world.lease(1, steps)
    await lease.try_acquire()
    with pytest.raises(TimeoutError):
        await lease.keep()

    assert 15 + 45 < closed_at[0] < 15 + 60, "15 s after the start it was renewed last"
    assert lease.gate.is_open, "nobody took it meanwhile"
    assert caplog.text.count("lease.renewed") == 1


async def test_an_owner_out_of_reach_gives_up_after_the_allowed_outage() -> None:
    world = World()
    lease = world.lease(1)
    await lease.try_acquire()
    world.reachable = False

    with pytest.raises(OutputFailed, match="out of reach"):
        await lease.keep()

    assert 600 <= world.seconds <= 620


@pytest.mark.parametrize("is_released", [False, True])
async def test_an_owner_out_of_reach_whose_lease_was_taken_meanwhile_has_lost_it(
    is_released: bool,
) -> None:
    world = World()
    lease = world.lease(1)
    await lease.try_acquire()
    other = world.lease(2)

    world.reachable = False
    keeping = asyncio.create_task(lease.keep())
    while lease.gate.is_open:  # noqa: ASYNC110  # the lease has no event
        await asyncio.sleep(0)
    world.seconds, world.reachable = max(world.seconds, 61), True
    assert await other.try_acquire()
    if is_released:
        await other.release()
    await keeping  # returns: it is lost

    assert not lease.gate.is_open


async def test_a_short_outage_of_the_store_is_survived() -> None:
    world = World()

    def steps() -> None:
        world.reachable = not 10 < world.seconds < 40
        if world.seconds > 300:
            raise TimeoutError

    lease = world.lease(1, steps)
    await lease.try_acquire()

    with pytest.raises(TimeoutError):
        await lease.keep()


async def test_a_renewal_that_arrived_without_its_answer_is_recognised() -> None:
    world = World()

    def steps() -> None:
        world.lost_answers = 1 if world.seconds < 20 else 0
        if world.seconds > 20:
            raise TimeoutError

    lease = world.lease(1, steps)
    await lease.try_acquire()
    with pytest.raises(TimeoutError):
        await lease.keep()

    assert (world.owner.pid, world.owner.renewals) == (1, 2)
    await lease.release()
    assert world.owner.released
    assert world.refused_writes == 1, "the write after the one without an answer"
