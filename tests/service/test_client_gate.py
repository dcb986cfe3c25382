"""A client sends nothing while its gate is closed."""

import asyncio

import pytest
from support.client_bench import Bench, client_on, score_all
from support.fake_transport import FakeTransport
from support.virtual_clock import on_virtual_clock

from pipeline.core.errors import Interrupted, OutputFailed
from pipeline.core.gate import Gate
from pipeline.core.settings import Pace
from pipeline.core.stop import StopSwitch
from pipeline.service.client import RerankClient
from pipeline.service.metrics import Metrics


def gated(bench: Bench, stop_switch: StopSwitch | None = None) -> tuple[RerankClient, Gate]:
    gate = Gate()
    client = RerankClient(
        bench.endpoint, metrics=Metrics(), stop_switch=stop_switch or StopSwitch(), gate=gate
    )
    return client, gate


@on_virtual_clock
async def test_requests_wait_for_the_gate_those_in_line_for_the_pace_too() -> None:
    transport = FakeTransport()
    client, gate = gated(client_on(transport, pace=Pace(requests_per_minute=60)))
    scoring = asyncio.create_task(score_all(client, 10))
    await asyncio.sleep(3.5)
    sent = len(transport.sent)

    gate.close()
    await asyncio.sleep(3_600)
    assert len(transport.sent) == sent < 6
    gate.open()
    await scoring

    assert len(transport.sent) == 10


@on_virtual_clock
async def test_a_stop_ends_the_wait_for_the_gate() -> None:
    stop_switch = StopSwitch()
    client, gate = gated(client_on(FakeTransport()), stop_switch)
    gate.close()
    scoring = asyncio.create_task(score_all(client, 3))
    await asyncio.sleep(1)
    stop_switch.stop(Interrupted(15))

    assert {type(outcome) for outcome in await scoring} == {Interrupted}


@on_virtual_clock
async def test_a_broken_gate_ends_every_call() -> None:
    transport = FakeTransport()
    client, gate = gated(client_on(transport))
    gate.close()
    scoring = asyncio.create_task(score_all(client, 3))
    await asyncio.sleep(1)
    gate.break_with(OutputFailed("is full"))

    outcomes = [*await scoring, *await score_all(client, 1)]

    assert [str(outcome) for outcome in outcomes] == ["is full"] * 4
    assert transport.sent == []
    with pytest.raises(OutputFailed):
        await gate.wait()
