"""The HTTP transport against a real server that plays a script of faults."""

import asyncio
import json
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np
import orjson
import pytest
from msgspec import structs
from support.client_bench import KEY, a_request, outcomes, request_of
from support.fake_reranker import FakeReranker, Reply, Step, served
from yarl import URL

from pipeline.core.errors import (
    BadAnswer,
    ContentRefused,
    IncompleteAnswer,
    Rejected,
    RequestError,
    ServiceRefused,
    SettingsError,
    Throttled,
    TooLarge,
    Transient,
)
from pipeline.service.failures import CONNECTION_LOST, TIMEOUT, UNREACHABLE, UNREADABLE
from pipeline.service.http_errors import safe_cause, translate_error
from pipeline.service.transport import HttpTransport, Timeouts
from pipeline.service.wire.formats import WIRE_FORMATS
from pipeline.service.wire.wire_format import Capabilities


def transport_to(url: str, *, total_s: float = 5.0, **more: Any) -> HttpTransport:
    return HttpTransport(
        url,
        WIRE_FORMATS["dashscope"],
        model="qwen3-rerank",
        api_key=KEY,
        timeouts=Timeouts(total_s=total_s),
        **more,
    )


@asynccontextmanager
async def serving(
    *script: Step, latency_s: float = 0.0, **more: Any
) -> AsyncIterator[tuple[FakeReranker, HttpTransport]]:
    """Run a fake service, and yield it with a transport to it."""
    async with FakeReranker(*script, latency_s=latency_s) as fake:
        async with transport_to(fake.url, **more) as transport:
            yield fake, transport


async def failure_of(*script: Step, **more: Any) -> RequestError:
    """How one request fails."""
    async with serving(*script, **more) as (fake, transport):
        with pytest.raises(RequestError) as caught:
            await transport.send(a_request())
        assert len(fake.calls) == 1
    return caught.value


async def test_scores_come_in_the_order_of_the_request() -> None:
    async with serving() as (_, transport):
        scores = await transport.send(a_request(documents=4))

    assert scores.scores.tolist() == [1, 1 / 2, 1 / 3, 1 / 4]
    assert scores.total_tokens
    assert scores.response_id == "r"


async def test_the_key_the_model_and_the_instruction_reach_the_service() -> None:
    async with serving(instruct="rank well") as (fake, transport):
        await transport.send(a_request())

    call = fake.calls[0]
    assert call.headers["Authorization"] == f"Bearer {KEY}"
    assert call.headers["Content-Type"] == "application/json"
    assert call.body["model"] == "qwen3-rerank"
    assert call.body["parameters"] == {
        "top_n": 3,
        "return_documents": False,
        "instruct": "rank well",
    }


def garbled(change: Callable[[list[dict[str, Any]]], Any]) -> Step:
    """Return an answer whose results are changed."""

    def reply(body: dict[str, Any]) -> Reply:
        answer = served(body)
        change(answer["output"]["results"])
        return Reply(200, answer)

    return reply


NAN = b'{"output":{"results":[{"index":0,"relevance_score":NaN}]}}'


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (500, "InternalError"),
        (503, "ModelUnavailable"),
        (504, "SomethingElse"),
        (Reply(502, b"<html><h1>Bad Gateway</h1></html>"), "http_502"),
        (Reply(500, b""), "http_500"),
        (Reply(500, {"code": "InternalError", "message": "x" * 2_000_000}), "InternalError"),
        ("reset", CONNECTION_LOST),
        ("cut", UNREADABLE),
        ("nonsense", UNREADABLE),
        (Reply(200, b"no gzip", {"Content-Encoding": "gzip"}), UNREADABLE),
        (Reply(200, {"code": "InternalError", "message": "at status 200"}), "InternalError"),
    ],
)
async def test_a_fault_of_the_service_is_transient(fault, code) -> None:
    failure = await failure_of(fault)

    assert type(failure) is Transient
    assert failure.code == code


async def test_a_service_that_hangs_is_given_up() -> None:
    failure = await failure_of("hang", total_s=0.1)

    assert type(failure) is Transient
    assert failure.code == TIMEOUT


async def test_an_address_where_nobody_listens_is_unreachable(unused_tcp_port) -> None:
    async with transport_to(f"http://127.0.0.1:{unused_tcp_port}/") as transport:
        with pytest.raises(Transient) as caught:
            await transport.send(a_request())

    assert caught.value.code == UNREACHABLE
    assert str(caught.value) == f"unreachable: 127.0.0.1:{unused_tcp_port}: connection refused"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://no-such-host.invalid/", "no-such-host.invalid:80: the name is not found"),
        ("https://127.0.0.1:{port}/", "127.0.0.1:{port}: no TLS connection"),
    ],
)
async def test_why_a_host_is_not_reached_is_said(url, why) -> None:
    async with FakeReranker() as fake:
        port = URL(fake.url).port
        async with transport_to(url.format(port=port)) as transport:
            with pytest.raises(Transient) as caught:
                await transport.send(a_request())

    assert caught.value.code == UNREACHABLE
    assert caught.value.message == why.format(port=port)


@pytest.mark.parametrize(
    "fault",
    [
        Reply(200, b'{"output":{"resul'),
        Reply(200, b""),
        Reply(200, NAN),
        garbled(lambda results: results[0].update(index=1)),
        garbled(lambda results: results[0].update(index=3)),
    ],
)
async def test_an_answer_that_is_not_one_score_per_document_is_bad(fault) -> None:
    assert type(await failure_of(fault)) is BadAnswer


@pytest.mark.parametrize(
    "fault",
    [
        garbled(lambda results: results.pop()),
        garbled(lambda results: results[2].update(relevance_score=None)),
    ],
)
async def test_an_answer_that_lacks_a_score_keeps_the_others(fault) -> None:
    failure = await failure_of(fault)

    assert isinstance(failure, IncompleteAnswer)
    assert failure.scores[:2].tolist() == [1, 1 / 2]
    assert np.isnan(failure.scores[2])


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (Reply(400, {"code": "DataInspectionFailed", "message": "no"}), ContentRefused),
        (Reply(400, {"code": "InvalidParameter", "message": "no"}), ContentRefused),
        (Reply(413, b""), TooLarge),
        (Reply(400, {"code": "Throttling.AllocationQuota", "message": ""}), Rejected),
    ],
)
async def test_a_verdict_on_the_request_has_its_class(step, kind) -> None:
    assert type(await failure_of(step)) is kind


async def test_a_429_tells_how_long_to_wait() -> None:
    failure = await failure_of(Reply(429, {"code": "Throttling"}, {"Retry-After": "7"}))

    assert isinstance(failure, Throttled)
    assert failure.retry_after_s == 7


async def test_a_wrong_key_is_a_refusal_for_good() -> None:
    async with serving(401) as (fake, transport):
        with pytest.raises(ServiceRefused):
            await transport.send(a_request())

    assert len(fake.calls) == 1


async def test_a_redirect_is_not_followed() -> None:
    failure = await failure_of(Reply(307, b"", {"Location": "http://127.0.0.1:1/"}))

    assert type(failure) is Rejected
    assert failure.status == 307


async def test_a_body_of_megabytes_is_sent_and_read() -> None:
    async with serving() as (_, transport):
        scores = await transport.send(a_request(documents=400, text="x" * 10_000))

    assert len(scores.scores) == 400


async def test_a_body_is_let_go_while_its_answer_is_waited_for() -> None:
    """It is held by nobody but the wire format, which keeps it here."""
    body = orjson.dumps({"input": {"query": "q", "documents": ["text"]}, "parameters": {}})
    wire = structs.replace(WIRE_FORMATS["dashscope"], encode=lambda *_: body)
    held_before = sys.getrefcount(body)
    held: list[int] = []

    def reply(asked: dict[str, Any]) -> Reply:
        held.append(sys.getrefcount(body))
        return Reply(200, served(asked))

    async with FakeReranker(reply) as fake:
        async with HttpTransport(fake.url, wire, model="qwen3-rerank") as transport:
            await transport.send(request_of("text"))

    assert held == [held_before]


async def test_connections_are_kept_and_used_again() -> None:
    async with serving(latency_s=0.005) as (fake, transport):
        for _ in range(5):
            await outcomes(transport.send(a_request(number)) for number in range(7))

    assert len(fake.calls) == 35
    assert len({call.peer for call in fake.calls}) == 7


async def test_what_the_service_says_in_an_error_is_kept_for_the_rejects() -> None:
    body = orjson.dumps({"code": "InvalidParameter", "message": "fps is not a number " * 40})

    failure = await failure_of(Reply(400, body))

    assert failure.code == "InvalidParameter"
    assert failure.message.startswith("fps is not a number")
    assert len(failure.message) <= 200


async def test_no_trace_of_a_failure_shows_the_key() -> None:
    failure = await failure_of("nonsense")

    assert KEY not in "".join(traceback.format_exception(failure))


@pytest.mark.parametrize("status", [200, 400, 500])
async def test_an_echo_of_the_request_is_not_shown(status) -> None:
    def echo(body: dict[str, Any]) -> Reply:
        texts = json.dumps(body["input"]).upper()
        return Reply(status, {"code": f"{KEY}", "message": f"bad: {texts}"})

    failure = await failure_of(echo)

    assert failure.code == f"http_{status}"
    assert "withheld" in failure.message
    assert "SOME TEXT" not in failure.message


async def test_the_name_of_an_answer_that_repeats_the_key_is_not_kept() -> None:
    def echo(body: dict[str, Any]) -> Reply:
        return Reply(200, served(body) | {"request_id": f"{KEY}-1"})

    async with serving(echo) as (_, transport):
        scores = await transport.send(a_request())

    assert scores.response_id == ""


@pytest.mark.parametrize("url", ["http://[bad/", "http:///path", "http://h:99999/"])
async def test_an_address_that_cannot_be_asked_is_refused(url) -> None:
    with pytest.raises((SettingsError, ServiceRefused), match="--url"):
        async with transport_to(url) as transport:
            await transport.send(a_request())


@pytest.mark.parametrize(("num_documents", "is_aside"), [(500, True), (1, False)])
async def test_a_message_about_a_large_request_is_cleaned_in_a_thread(
    num_documents: int, is_aside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To compare it with five hundred Chinese documents takes a tenth of a second."""
    in_threads = list[object]()
    to_thread = asyncio.to_thread

    async def noted(work: Any, *arguments: Any) -> Any:
        in_threads.append(work)
        return await to_thread(work, *arguments)

    monkeypatch.setattr(asyncio, "to_thread", noted)
    request = request_of(*(f"{number}号文档的内容，" * 600 for number in range(num_documents)))
    message = "the model is overloaded, please try again"

    async with serving(Reply(503, {"code": "Overloaded", "message": message})) as (_, transport):
        with pytest.raises(Transient, match=message):
            await transport.send(request)

    assert bool(in_threads) == is_aside


def all_subclasses(kind: type[BaseException]) -> set[type[BaseException]]:
    below = set(kind.__subclasses__())
    return below.union(*(all_subclasses(one) for one in below))


@pytest.mark.parametrize(
    "kind",
    sorted({aiohttp.ClientError, *all_subclasses(aiohttp.ClientError)}, key=lambda k: k.__name__),
)
def test_every_aiohttp_error_becomes_one_of_ours(kind) -> None:
    error = an_instance(kind)

    translated = translate_error(error)

    assert type(translated) in (Transient, ServiceRefused)
    assert KEY not in str(translated)
    assert not hasattr(safe_cause(error), "request_info")


def an_instance(kind: type[Exception]) -> Exception:
    error = kind.__new__(kind, KEY)
    if not isinstance(error, OSError):
        error.args = (KEY,)
    if isinstance(error, aiohttp.ClientResponseError):
        error.status = 407
    return error


def test_an_instruction_that_the_endpoint_would_ignore_is_refused() -> None:
    deaf = structs.replace(WIRE_FORMATS["dashscope"], takes=Capabilities())

    with pytest.raises(SettingsError, match=r"--instruct: .* takes no instruction"):
        HttpTransport("http://127.0.0.1:1/", deaf, model="m", instruct="rank well")
