"""An outage is not a verdict; a request that fails alone is no outage."""

import asyncio
import logging

import pytest
from support.client_bench import a_request, bench
from support.fake_reranker import Reply, served

from pipeline.core.errors import BadAnswer, OutageTooLong, Throttled, Transient
from pipeline.core.settings import Pace
from pipeline.service.circuit_breaker import CircuitBreaker

THROTTLED = Reply(429, {"code": "Throttling", "message": ""}, {"Retry-After": "0"})


@pytest.mark.parametrize("fault", [500, 502, 503, "reset", Reply(503, b"<html>")])
async def test_in_an_outage_no_attempt_is_spent(fault) -> None:
    async with bench(*[fault] * 60, max_attempts=3) as b:
        results = await asyncio.gather(*(b.client.score(a_request(n)) for n in range(20)))

    assert len(results) == 20
    assert b.counters.answered == 20


@pytest.mark.parametrize("fault", [502, 503, 504])
async def test_a_service_that_says_it_is_down_is_believed_by_a_lone_request(fault) -> None:
    async with bench(*[fault] * 30, max_attempts=1) as b:
        scores = await b.client.score(a_request())

    assert len(scores.scores) == 3


async def test_one_probe_at_a_time_is_sent_and_each_waits_longer() -> None:
    async with bench(*[503] * 40, latency_s=0.002) as b:
        await asyncio.gather(*(b.client.score(a_request(n)) for n in range(10)))

    probes = b.slept[b.counters.retries :]
    assert probes[:6] == [1, 2, 4, 8, 15, 15]
    assert len(probes) == 41 - 10


async def test_those_that_wait_in_line_when_the_outage_begins_are_not_sent() -> None:
    async with bench(*[503] * 15, pace=Pace(max_in_flight=1)) as b:
        await asyncio.gather(*(b.client.score(a_request(n)) for n in range(20)))

    probes = b.slept[b.counters.retries :]
    assert len(probes) == 6  # ten failures began it, five probes failed, one was answered


async def test_a_request_that_fails_while_others_succeed_is_no_outage() -> None:
    def answer(body):
        if body["input"]["query"] == "query 0":
            return Reply(500, {"code": "InternalError.Algo", "message": ""})
        return Reply(200, served(body))

    async with bench(*[answer] * 1_000) as b:
        results = await asyncio.gather(
            *(b.client.score(a_request(n)) for n in range(50)), return_exceptions=True
        )

    assert isinstance(results[0], Transient)
    assert not any(isinstance(result, BaseException) for result in results[1:])


async def test_a_lone_request_that_breaks_the_service_is_given_up() -> None:
    async with bench(*[500] * 10, max_attempts=3) as b:
        with pytest.raises(Transient):
            await b.client.score(a_request())

    assert b.num_calls == 3


async def test_an_unreachable_address_is_waited_for_then_ends_the_job(unused_tcp_port) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/"
    async with bench(url=url, max_outage_s=0.2, max_attempts=1) as b:
        results = await asyncio.gather(
            *(b.client.score(a_request(n)) for n in range(5)), return_exceptions=True
        )

    assert {type(result) for result in results} == {OutageTooLong}


def test_probes_of_an_outage_without_end_stay_quarter_of_a_minute_apart() -> None:
    circuit = CircuitBreaker(1e9, lambda: 0.0)

    waits_s = [circuit.next_wait_s() for _ in range(2_000)]

    assert waits_s[:5] == [1.0, 2.0, 4.0, 8.0, 15.0]
    assert waits_s[-1] == 15.0


async def test_refusals_for_pace_without_end_are_an_outage_too() -> None:
    async with bench(*[THROTTLED] * 10_000, max_outage_s=0.2) as b:
        with pytest.raises(OutageTooLong):
            await b.client.score(a_request())


async def test_an_outage_is_told_once_with_what_it_waits_for(caplog) -> None:
    with caplog.at_level(logging.WARNING):
        async with bench(*[503] * 5) as b:
            await b.client.score(a_request())

    told = [
        record.message
        for record in caplog.records
        if record.name == "pipeline.service.circuit_breaker"
    ]
    assert told[0].startswith("service.down code=ModelUnavailable waits_up_to_s=600")
    assert told[1].startswith("service.back")
    assert len(told) == 2


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def circuit_after_failures(count: int, clock: Clock, status: int = 500) -> CircuitBreaker:
    circuit = CircuitBreaker(600, clock)
    for number in range(count):
        circuit.failed(number, Transient("x", status=status), asked_at_once=64, last=False)
    return circuit


def test_some_failures_among_many_requests_are_no_outage() -> None:
    assert not circuit_after_failures(9, Clock()).is_open
    assert circuit_after_failures(10, Clock()).is_open


@pytest.mark.parametrize("error", [Throttled("x"), BadAnswer("x")])
def test_the_circuit_closes_with_any_answer(error) -> None:
    circuit = circuit_after_failures(10, Clock())

    circuit.failed(0, error, asked_at_once=1, last=False)

    assert not circuit.is_open


def test_the_outage_is_counted_from_its_first_failure() -> None:
    clock = Clock()
    circuit = circuit_after_failures(10, clock)
    down = Transient("x", status=503)

    clock.now = 599
    circuit.failed(0, down, asked_at_once=1, last=False)
    clock.now = 600
    with pytest.raises(OutageTooLong, match="served nothing for 600 s"):
        circuit.failed(0, down, asked_at_once=1, last=False)


def test_a_success_forgets_the_trouble() -> None:
    clock = Clock()
    circuit = circuit_after_failures(10, clock)
    circuit.served()
    clock.now = 1_000

    circuit.failed(0, Transient("x", status=503), asked_at_once=1, last=False)

    assert circuit.is_open
