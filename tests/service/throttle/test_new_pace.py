"""A pace that the operator changes during a run: who waits is woken, and 0 pauses."""

import asyncio

import pytest
from support.client_bench import a_request, client_on
from support.fake_transport import FakeTransport
from support.virtual_clock import on_virtual_clock, run

from pipeline.core.errors import RequestError, Throttled, Transient
from pipeline.core.settings import Pace
from pipeline.service.throttle.throttle import Throttle

HOUR_S = 3_600.0


async def admitted_after(old: Pace, new: Pace, *, tokens: int = 1) -> float:
    """Return the seconds from a change of the pace to the admission of a third request."""
    throttle, loop = Throttle(old), asyncio.get_running_loop()
    for _ in range(min(2, old.max_in_flight)):
        await throttle.admit(1, tokens)
    waiting = asyncio.create_task(throttle.admit(1, tokens))
    await asyncio.sleep(1)
    assert not waiting.done()
    throttle.set_pace(new)
    changed_at = loop.time()
    await waiting
    return loop.time() - changed_at


@pytest.mark.parametrize(
    ("old", "new", "tokens"),
    [
        (Pace(requests_per_minute=0.1), Pace(), 1),
        (Pace(requests_per_minute=0.1), Pace(requests_per_minute=600), 1),
        (Pace(tokens_per_minute=600), Pace(tokens_per_minute=60_000), 100),
        (Pace(max_in_flight=1), Pace(max_in_flight=8), 1),
        (Pace(max_in_flight=2, max_documents_in_flight=2), Pace(), 1),
    ],
)
def test_a_higher_pace_wakes_who_waits(old: Pace, new: Pace, tokens: int) -> None:
    assert run(admitted_after(old, new, tokens=tokens)) < 0.2


@on_virtual_clock
async def test_nothing_is_sent_while_the_operator_pauses_and_all_of_it_after() -> None:
    transport = FakeTransport(latency_s=0.1)
    bench, loop = (
        client_on(transport, pace=Pace(requests_per_minute=600)),
        asyncio.get_running_loop(),
    )

    async with asyncio.TaskGroup() as tasks:
        for number in range(50):
            tasks.create_task(bench.client.score(a_request(number)))
        await asyncio.sleep(1)
        bench.throttle.set_pace(Pace(is_paused=True))
        paused_at = loop.time()
        await asyncio.sleep(HOUR_S)
        assert not [sent for sent in transport.sent if sent.at > paused_at]
        bench.throttle.set_pace(Pace(requests_per_minute=600))
        assert bench.throttle.paused_s == pytest.approx(HOUR_S, abs=0.1)

    assert len(transport.sent) == 50
    assert loop.time() < HOUR_S + 7
    assert bench.quota_use.admitted_s < 10


@pytest.mark.parametrize("failure", [Throttled("Throttling"), Transient("down", status=503)])
@on_virtual_clock
async def test_a_pause_by_the_operator_is_no_outage(failure: RequestError) -> None:
    transport = FakeTransport(*[failure] * 8)
    bench = client_on(transport, pace=Pace(requests_per_minute=600))

    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(bench.client.score(a_request(number))) for number in range(5)]
        await asyncio.sleep(0.5)
        bench.throttle.set_pace(Pace(is_paused=True))
        await asyncio.sleep(HOUR_S)
        bench.throttle.set_pace(Pace(requests_per_minute=600))

    assert [len(call.result().scores) for call in calls] == [3] * 5


@on_virtual_clock
async def test_who_is_cancelled_in_a_pause_leaves_the_line() -> None:
    throttle = Throttle(Pace())
    throttle.set_pace(Pace(is_paused=True))
    first, second = (asyncio.create_task(throttle.admit(1, 1)) for _ in range(2))
    await asyncio.sleep(1)
    first.cancel()
    await asyncio.sleep(1)
    throttle.set_pace(Pace())

    await second
    assert throttle.in_flight == 1
