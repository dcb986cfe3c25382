"""The client against a real HTTP server that plays a script of faults."""

import asyncio
import logging
import traceback
from collections.abc import Callable
from typing import Any

import aiohttp
import orjson
import pytest
from support.client_bench import KEY, a_request, bench, until
from support.fake_reranker import Reply, Step, served

from pipeline.core.errors import (
    BadAnswer,
    ContentRefused,
    Interrupted,
    Rejected,
    ServiceRefused,
    SettingsError,
    TooLarge,
    Transient,
)
from pipeline.core.models import PROFILES
from pipeline.core.providers import PROVIDERS
from pipeline.core.settings import Pace, RunSettings
from pipeline.service import client as client_module
from pipeline.service.client import RerankClient
from pipeline.service.metrics import Metrics
from pipeline.service.throttle.throttle import Throttle


async def test_scores_come_in_the_order_of_the_request() -> None:
    async with bench() as b:
        scores = await b.client.score(a_request(documents=4))

    assert scores.scores.tolist() == [1, 1 / 2, 1 / 3, 1 / 4]
    assert b.num_calls == 1
    assert b.counters.answered == b.counters.requests == 1
    assert b.counters.tokens == scores.total_tokens
    assert b.counters.cost_usd == pytest.approx(scores.total_tokens * 0.1 / 1e6)
    assert b.counters.latency_ms()["p50"] > 0


async def test_the_key_and_the_model_reach_the_service() -> None:
    async with bench(instruct="rank well") as b:
        await b.client.score(a_request())

    call = b.fake.calls[0]
    assert call.headers["Authorization"] == f"Bearer {KEY}"
    assert call.headers["Content-Type"] == "application/json"
    assert call.body["model"] == "qwen3-rerank"
    assert call.body["parameters"] == {
        "top_n": 3,
        "return_documents": False,
        "instruct": "rank well",
    }


def garbled(change: Callable[[list[dict[str, Any]]], Any]) -> Step:
    """An answer whose results are changed."""

    def reply(body: dict[str, Any]) -> Reply:
        answer = served(body)
        change(answer["output"]["results"])
        return Reply(200, answer)

    return reply


NAN = b'{"output":{"results":[{"index":0,"relevance_score":NaN}]}}'
TRANSIENT: list[Step] = [
    500,
    503,
    504,
    Reply(502, b"<html><h1>Bad Gateway</h1></html>", {"Content-Type": "text/html"}),
    Reply(500, b""),
    Reply(500, {"code": "InternalError", "message": "x" * 2_000_000}),
    "reset",
    "cut",
    Reply(200, {"code": "InternalError", "message": "an error at status 200"}),
    "nonsense",
]
BAD: list[Step] = [
    Reply(200, b'{"output":{"resul'),
    Reply(200, b""),
    Reply(200, NAN),
    garbled(lambda results: results.pop()),
    garbled(lambda results: results[0].update(index=1)),
    garbled(lambda results: results[0].update(index=3)),
    garbled(lambda results: results[0].update(relevance_score=None)),
]


@pytest.mark.parametrize("fault", TRANSIENT + BAD)
async def test_after_a_fault_another_attempt_brings_the_scores(fault) -> None:
    async with bench(fault) as b:
        scores = await b.client.score(a_request())

    assert scores.scores.tolist() == [1, 1 / 2, 1 / 3]
    assert b.num_calls == 2


async def test_a_service_that_hangs_is_given_up_and_asked_again() -> None:
    async with bench("hang", total_timeout_s=0.2) as b:
        scores = await b.client.score(a_request())

    assert len(scores.scores) == 3
    assert b.counters.retries == 1


@pytest.mark.parametrize(("fault", "error"), [(500, Transient), (BAD[0], BadAnswer)])
@pytest.mark.parametrize("max_attempts", [1, 2, 5])
async def test_after_the_last_attempt_the_failure_comes_out(fault, error, max_attempts) -> None:
    async with bench(*[fault] * 10, max_attempts=max_attempts) as b:
        with pytest.raises(error):
            await b.client.score(a_request())

    assert b.num_calls == max_attempts
    assert b.counters.retries == max_attempts - 1
    assert b.slept == [1, 2, 4, 8][: max_attempts - 1]


async def test_a_429_costs_no_attempt() -> None:
    throttled = Reply(429, {"code": "Throttling.RateQuota", "message": ""}, {"Retry-After": "0"})

    async with bench(*[throttled] * 6, max_attempts=1) as b:
        scores = await b.client.score(a_request())

    assert len(scores.scores) == 3
    assert b.counters.throttled == 6
    assert b.counters.retries == 0


async def test_a_429_waits_for_retry_after_without_holding_a_slot() -> None:
    throttled = Reply(429, {"code": "Throttling", "message": ""}, {"Retry-After": "0.3"})

    async with bench(throttled) as b:
        scoring = asyncio.create_task(b.client.score(a_request()))
        await until(lambda: b.counters.throttled)
        in_flight = b.throttle.in_flight
        await scoring

    assert in_flight == 0
    assert b.fake.calls[1].at - b.fake.calls[0].at >= 0.3


async def test_a_retry_waits_without_holding_a_slot() -> None:
    async with bench(500, sleep=False, pace=Pace(max_in_flight=1)) as b:
        waits = asyncio.create_task(b.client.score(a_request(1)))
        await until(lambda: b.counters.retries)
        await b.client.score(a_request(2))
        assert not waits.done()
        await waits

    assert [call.body["input"]["query"] for call in b.fake.calls] == [
        "query 1",
        "query 2",
        "query 1",
    ]


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (Reply(400, {"code": "DataInspectionFailed", "message": "no"}), ContentRefused),
        (Reply(400, {"code": "InvalidParameter", "message": "no"}), ContentRefused),
        (Reply(413, b""), TooLarge),
        (Reply(400, {"code": "Throttling.AllocationQuota", "message": ""}), Rejected),
    ],
)
async def test_a_verdict_comes_out_at_once(step, error) -> None:
    async with bench(step) as b:
        with pytest.raises(error):
            await b.client.score(a_request())

    assert b.num_calls == 1


async def test_a_refusal_for_good_ends_all_that_wait() -> None:
    async with bench(401, pace=Pace(max_in_flight=1)) as b:
        results = await asyncio.gather(
            *(b.client.score(a_request(number)) for number in range(5)), return_exceptions=True
        )

    assert [type(result) for result in results] == [ServiceRefused] * 5
    assert b.num_calls == 1


async def test_a_redirect_is_not_followed_with_the_key() -> None:
    async with bench(Reply(307, b"", {"Location": "http://127.0.0.1:1/"})) as b:
        with pytest.raises(ServiceRefused):
            await b.client.score(a_request())


async def test_a_body_of_megabytes_is_sent_and_read() -> None:
    async with bench() as b:
        scores = await b.client.score(a_request(documents=400, text="x" * 10_000))

    assert len(scores.scores) == 400


async def test_stopping_lets_what_is_in_flight_finish_and_refuses_the_rest() -> None:
    async with bench("hang", pace=Pace(max_in_flight=1)) as b:
        in_flight, waiting = (asyncio.create_task(b.client.score(a_request(n))) for n in range(2))
        await until(lambda: b.fake.calls)

        b.client.stop(Interrupted(15))
        with pytest.raises(Interrupted):
            await waiting
        assert b.throttle.in_flight == 1
        b.fake.release()

        assert len((await in_flight).scores) == 3
        assert b.throttle.in_flight == 0
        for call in (waiting, b.client.score(a_request(3))):
            with pytest.raises(Interrupted):
                await call
    assert b.num_calls == 1


async def test_stopping_cuts_a_back_off_short() -> None:
    async with bench(500, sleep=False) as b:
        scoring = asyncio.create_task(b.client.score(a_request()))
        await until(lambda: b.counters.retries)
        b.client.stop(Interrupted(2))
        with pytest.raises(Interrupted):
            await asyncio.wait_for(scoring, 0.5)


async def test_no_more_connections_are_opened_than_requests_in_flight() -> None:
    async with bench(pace=Pace(max_in_flight=7), latency_s=0.005) as b:
        await asyncio.gather(*(b.client.score(a_request(number)) for number in range(100)))

        assert b.fake.max_in_flight == 7
        assert len({call.peer for call in b.fake.calls}) == 7


async def test_no_key_and_no_text_is_logged(caplog) -> None:
    secret = "the patient of room twelve"
    echo = Reply(400, {"code": "DataInspectionFailed", "message": f"{secret} 0 and {KEY}"})

    with caplog.at_level(logging.DEBUG):
        async with bench(500, echo) as b:
            with pytest.raises(ContentRefused) as caught:
                await b.client.score(a_request(text=secret))

    told = caplog.text + str(caught.value) + repr(caught.value) + caught.value.message
    assert "request.retry_scheduled query_id=q0 attempt=2 wait_s=1.0" in caplog.text
    assert secret not in told
    assert KEY not in told + repr(b.client) + repr(b.throttle) + repr(b.counters)


def test_a_key_that_no_header_can_hold_is_refused_without_being_shown() -> None:
    settings = RunSettings(
        provider=PROVIDERS["dashscope"], profile=PROFILES["qwen3-rerank"], url="http://localhost"
    )

    with pytest.raises(SettingsError) as caught:
        RerankClient(settings, "sk-\n123", Throttle(Pace()), Metrics())

    assert "DASHSCOPE_API_KEY" in str(caught.value)
    assert "123" not in str(caught.value)


async def test_no_trace_of_a_failure_shows_the_key() -> None:
    async with bench("nonsense", max_attempts=1) as b:
        with pytest.raises(Transient) as caught:
            await b.client.score(a_request())

    assert KEY not in "".join(traceback.format_exception(caught.value))


def all_subclasses(kind: type[BaseException]) -> set[type[BaseException]]:
    below = set(kind.__subclasses__())
    return below.union(*(all_subclasses(one) for one in below))


@pytest.mark.parametrize(
    "kind",
    sorted({aiohttp.ClientError, *all_subclasses(aiohttp.ClientError)}, key=lambda k: k.__name__),
)
def test_every_aiohttp_error_is_translated(kind) -> None:
    error = an_instance(kind)

    translated = client_module._translated(error)

    assert type(translated) in (Transient, ServiceRefused)
    assert KEY not in str(translated)
    cause = client_module._cause(error)
    assert cause is None or not hasattr(cause, "request_info")


def an_instance(kind: type[Exception]) -> Exception:
    error = kind.__new__(kind, KEY)
    if not isinstance(error, OSError):
        error.args = (KEY,)
    return error


@pytest.mark.parametrize("url", ["http://[bad/", "http:///path", "http://h:99999/"])
async def test_an_address_that_cannot_be_asked_is_refused(url) -> None:
    with pytest.raises((SettingsError, ServiceRefused), match="--url"):
        async with bench(url=url) as b:
            await b.client.score(a_request())


async def test_what_the_service_says_in_an_error_is_kept_for_the_rejects() -> None:
    body = orjson.dumps({"code": "InvalidParameter", "message": "fps is not a number " * 40})
    async with bench(Reply(400, body)) as b:
        with pytest.raises(ContentRefused) as caught:
            await b.client.score(a_request())

    assert caught.value.code == "InvalidParameter"
    assert caught.value.message.startswith("fps is not a number")
    assert len(caught.value.message) <= 200
