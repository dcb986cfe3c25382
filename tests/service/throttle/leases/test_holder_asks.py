"""What a taker tells its leaser, and when: at the beginning, at the end, and when it is lost."""

import asyncio
import logging
from collections.abc import Sequence
from itertools import pairwise

import pytest
from support.leasers import FakeLeaser
from support.virtual_clock import on_virtual_clock

from pipeline.core.errors import OutageTooLong
from pipeline.service.throttle.leases.holder import LeaseHolder
from pipeline.service.throttle.leases.messages import Ask, Grant, Refused, Report

BEGIN_S = 100.0
LATENCY_S = 0.002


class RecordedLeaser(FakeLeaser):
    """A leaser that records each ask and its time."""

    def __init__(self, *quota: float | None) -> None:
        super().__init__(*quota)
        self.asks: list[tuple[float, Ask]] = []

    async def ask(self, ask: Ask) -> Grant:
        self.asks.append((clock(), ask))
        return await super().ask(ask)

    def gaps(self, since: float) -> list[float]:
        """Return the seconds between one ask and the next, from a moment on."""
        times = [at for at, _ in self.asks if at >= since]
        return [after - before for before, after in pairwise(times)]


def clock() -> float:
    return asyncio.get_running_loop().time()


async def begun(per_s: float = 100.0) -> RecordedLeaser:
    """Return a leaser, at a moment when its own clock and ours are far from zero."""
    await asyncio.sleep(BEGIN_S)
    return RecordedLeaser(per_s)


def holder_of(leaser: FakeLeaser, wants: Sequence[float] = ()) -> LeaseHolder:
    holder = LeaseHolder(leaser, 100.0, None)
    if wants:
        holder.follow(lambda: wants)
    return holder


# --- Before it takes part -----------------------------------------------------------------------


@on_virtual_clock
async def test_a_taker_takes_part_once_the_leaser_has_answered() -> None:
    leaser = await begun()
    leaser.state = "gone"
    asyncio.get_running_loop().call_later(4.5, setattr, leaser, "state", "up")
    checked = []

    async with holder_of(leaser).running(10.0, lambda: checked.append(clock())):
        assert clock() == pytest.approx(BEGIN_S + 5, abs=0.1)

    assert checked == pytest.approx([BEGIN_S + second for second in range(5)], abs=0.1)


@on_virtual_clock
async def test_a_leaser_that_cannot_be_reached_for_too_long_ends_the_wait() -> None:
    leaser = await begun()
    leaser.state = "gone"

    with pytest.raises(OutageTooLong) as lost:
        async with holder_of(leaser).running(3.0):
            raise AssertionError("it takes part")

    assert clock() == pytest.approx(BEGIN_S + 3, abs=0.1)
    assert str(lost.value).startswith(
        "--quota fake: the quota's leaser cannot be reached (found connection refused); start it"
    )


@on_virtual_clock
async def test_a_leaser_that_does_not_answer_is_waited_for_as_long_and_told() -> None:
    leaser = await begun()
    leaser.state = "hangs"

    with pytest.raises(OutageTooLong, match="found no answer"):
        async with holder_of(leaser).running(3.0):
            raise AssertionError("it takes part")

    assert clock() == pytest.approx(BEGIN_S + 3, abs=1.1)


# --- With the leaser ----------------------------------------------------------------------------


@on_virtual_clock
async def test_a_taker_without_requests_asks_once_a_second_and_wants_nothing() -> None:
    leaser = await begun()

    async with holder_of(leaser).running():
        await asyncio.sleep(10)
        told = leaser.asks[3:]
        gaps = leaser.gaps(BEGIN_S + 3)

    assert [ask.wants for _, ask in told] == [[]] * len(told)
    assert gaps == pytest.approx([1 + LATENCY_S] * len(gaps), abs=1e-3)
    assert len(gaps) >= 5


@on_virtual_clock
async def test_a_taker_with_slots_in_hand_asks_for_each_new_request_twelve_times_a_second() -> None:
    leaser = await begun(1_000.0)
    holder = holder_of(leaser)
    holder.follow(lambda: [0.0] * (len(holder.slots) + 1))

    async with holder.running():
        await asyncio.sleep(6)
        gaps = leaser.gaps(BEGIN_S + 4)

    assert gaps == pytest.approx([0.25 / 3 + LATENCY_S] * len(gaps), abs=1e-3)
    assert len(gaps) > 20


@on_virtual_clock
async def test_reports_are_numbered_and_one_that_was_not_answered_is_repeated() -> None:
    leaser = await begun()
    holder = holder_of(leaser)

    async with holder.running():
        await asyncio.sleep(4)
        assert leaser.asks[0][1].report == Report(1)
        leaser.state = "gone"
        version = holder.source.grant.requests_version
        holder.refused("requests", holder.source.version("requests"), 1.5)
        await asyncio.sleep(1)
        told = [ask.report for _, ask in leaser.asks[-2:]]
        leaser.state = "up"
        await asyncio.sleep(2)
        numbers = [ask.report.number for _, ask in leaser.asks]

    assert told[0] == told[1]
    assert told[0].refused == [Refused("requests", version, 1.5)]
    assert numbers == sorted(numbers)
    assert numbers[-1] > told[0].number


@on_virtual_clock
async def test_a_refusal_is_reported_at_once_and_only_once() -> None:
    leaser = await begun()
    holder = holder_of(leaser)

    async with holder.running():
        await asyncio.sleep(4.5)
        refused_at, version = clock(), holder.source.version("requests")
        refused = Refused("requests", holder.source.grant.requests_version, 1.5)
        is_new = [holder.refused("requests", version, 1.5) for _ in range(2)]
        await asyncio.sleep(3)

    assert is_new == [True, False]
    reported = [(at, ask.report.refused) for at, ask in leaser.asks if ask.report.refused]
    assert reported == [(pytest.approx(refused_at, abs=1e-3), [refused])]


@on_virtual_clock
async def test_slots_of_a_leaser_that_began_anew_are_not_used() -> None:
    leaser = await begun()
    holder = holder_of(leaser, [0.0] * 500)

    async with holder.running():
        await asyncio.sleep(3.4)
        assert len(holder.slots) > 5
        leaser.restart()
        await asyncio.sleep(0.1)

        assert len(holder.slots) == 0


@on_virtual_clock
async def test_a_taker_that_leaves_says_so_and_wants_nothing_more() -> None:
    leaser = await begun()

    async with holder_of(leaser, [0.0] * 500).running():
        await asyncio.sleep(10)

    _, last = leaser.asks[-1]
    assert (last.is_leaving, last.wants) == (True, [])
    assert not any(ask.is_leaving for _, ask in leaser.asks[:-1])
    assert len(last.report.unused) > 5
    assert leaser.ledger.num_takers == 0


# --- Without the leaser -------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "why"), [("gone", "connection refused"), ("hangs", "no answer")])
def test_three_seconds_after_the_last_answer_a_taker_goes_on_on_its_own(
    caplog: pytest.LogCaptureFixture, state: str, why: str
) -> None:
    @on_virtual_clock
    async def play() -> None:
        leaser = await begun()
        holder = holder_of(leaser)
        async with holder.running():
            await asyncio.sleep(5.5)
            answered, _ = leaser.asks[-1]
            leaser.state = state
            await asyncio.sleep(answered + 2.99 - clock())
            assert repr(holder) == "<LeaseHolder slots=0 from=fake>"
            await asyncio.sleep(2)
            assert repr(holder) == "<LeaseHolder slots=0 from=own>"

    with caplog.at_level(logging.WARNING):
        play()

    assert [record.getMessage() for record in caplog.records] == [
        f"quota.leaser_lost leaser=fake error={why} takers=1 share=1.0"
        " requests_per_s=95.0 tokens_per_s=None"
    ]


@on_virtual_clock
async def test_a_lost_leaser_is_asked_each_quarter_second_and_later_each_second() -> None:
    """However many requests wait; a taker on its own also says what share it uses."""
    leaser = await begun()
    holder = holder_of(leaser, [0.0] * 500)

    async with holder.running():
        await asyncio.sleep(5)
        leaser.state = "gone"
        lost_at = clock()
        await asyncio.sleep(10)

    soon = leaser.gaps(lost_at + 0.5)[:8]
    later = leaser.gaps(lost_at + 4)[:4]
    assert soon == pytest.approx([0.25 + LATENCY_S / 2] * 8, abs=1e-3)
    assert later == pytest.approx([1 + LATENCY_S / 2] * 4, abs=1e-3)
    assert {ask.share for at, ask in leaser.asks if at < lost_at + 2.5} == {None}
    assert {ask.share for at, ask in leaser.asks if at > lost_at + 4} == {1.0}


@on_virtual_clock
async def test_each_time_the_leaser_is_lost_and_found_its_slots_are_of_another_source() -> None:
    """So a refusal reaches the source of its slot alone."""
    leaser = await begun()
    holder = holder_of(leaser)

    versions = []
    async with holder.running():
        for state in ("up", "gone", "up", "gone", "up"):
            leaser.state = state
            await asyncio.sleep(6)
            versions.append(holder.source.version("requests"))

    assert len(set(versions)) == 5
