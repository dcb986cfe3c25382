"""The emulator over real HTTP: shapes, limits, quotas and refusals."""

import asyncio
import io
import uuid
from typing import Any, NamedTuple

import aiohttp
import orjson
import pytest
from support.pictures import png

from jobs.emulator.config import EmulatorConfig
from jobs.emulator.lifecycle import running_emulator
from jobs.emulator.wire_formats import COMPATIBLE, NATIVE
from pipeline.core.content import image_of_bytes, value_or_url
from pipeline.tokens.counter import TokenCounter

QUERY = "how long does a battery last in the cold"
DOCUMENTS = [
    "The post office opens at nine.",
    "Batteries last half as long in the cold.",
    "A cold morning.",
]
MIB = 1024 * 1024


class Reply(NamedTuple):
    status: int
    body: Any
    headers: Any


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def ask(url: str, body: Any, *, path: str = NATIVE.path, key: str | None = "any") -> Reply:
    data = io.BytesIO(body if isinstance(body, bytes) else orjson.dumps(body))
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url + path, data=data, headers=headers) as response,
    ):
        raw = await response.read()
        is_json = response.content_type == "application/json"
        return Reply(response.status, orjson.loads(raw) if is_json else raw, response.headers)


def nested(
    query: Any = QUERY, documents: Any = DOCUMENTS, model: str = "qwen3-rerank", **parameters: Any
) -> dict[str, Any]:
    inputs = {"query": query, "documents": documents}
    return {"model": model, "input": inputs, "parameters": parameters}


def flat(**fields: Any) -> dict[str, Any]:
    return {"model": "qwen3-rerank", "query": QUERY, "documents": DOCUMENTS, **fields}


async def test_the_native_endpoint_answers_nested_best_first() -> None:
    async with running_emulator() as service:
        status, body, headers = await ask(service.url, nested())

    results = body["output"]["results"]
    scores = [result["relevance_score"] for result in results]
    assert status == 200
    assert list(body) == ["output", "usage", "request_id"]
    assert sorted(result["index"] for result in results) == [0, 1, 2]
    assert results[0]["index"] == 1
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.5 > scores[-1] > 0
    assert headers["x-request-id"] == body["request_id"]


@pytest.mark.parametrize("body", [flat(top_n=2), nested(top_n=2)])
async def test_the_compatible_endpoint_answers_flat_to_either_shape(body: dict[str, Any]) -> None:
    async with running_emulator() as service:
        reply = await ask(service.url, body, path=COMPATIBLE.path)

    assert reply.status == 200
    assert list(reply.body) == ["object", "results", "model", "id", "usage"]
    assert reply.body["object"] == "list"
    assert reply.body["model"] == "qwen3-rerank"
    assert [set(result) for result in reply.body["results"]] == [{"index", "relevance_score"}] * 2


async def test_both_endpoints_give_the_same_scores_and_usage() -> None:
    async with running_emulator() as service:
        native = (await ask(service.url, nested())).body
        compatible = (await ask(service.url, flat(), path=COMPATIBLE.path)).body

    assert native["output"]["results"] == compatible["results"]
    assert native["usage"] == compatible["usage"]


async def test_documents_are_returned_when_asked_for() -> None:
    async with running_emulator() as service:
        body = (await ask(service.url, nested(return_documents=True, top_n=1))).body

    assert [result["document"] for result in body["output"]["results"]] == [{"text": DOCUMENTS[1]}]


async def test_usage_counts_the_query_once_per_document() -> None:
    count = TokenCounter().count

    async with running_emulator() as service:
        body = (await ask(service.url, nested(instruct="Find what answers the question."))).body

    expected = len(DOCUMENTS) * count(QUERY) + sum(map(count, DOCUMENTS))
    assert body["usage"] == {"total_tokens": expected}


async def test_a_text_over_the_limit_is_truncated_silently() -> None:
    long = "battery " * 5_000
    count = TokenCounter().count

    async with running_emulator() as service:
        whole = (await ask(service.url, nested("cold", [long + "cold " * 90]))).body
        cut = (await ask(service.url, nested("cold", [long]))).body
        query = (await ask(service.url, nested(long, ["cold", "ice"]))).body

    assert whole["usage"] == {"total_tokens": 4_000 + count("cold")}
    assert whole["output"] == cut["output"]
    assert query["usage"] == {"total_tokens": 2 * 4_000 + count("cold") + count("ice")}


async def test_an_instruction_changes_no_score() -> None:
    async with running_emulator() as service:
        plain = (await ask(service.url, nested())).body["output"]
        told = (await ask(service.url, nested(instruct="Prefer post offices."))).body["output"]

    assert plain == told


async def test_request_ids_are_unique_and_seeded() -> None:
    async def ids(seed: int) -> list[str]:
        async with running_emulator(EmulatorConfig(seed=seed)) as service:
            return [(await ask(service.url, nested())).body["request_id"] for _ in range(3)]

    first, again, other = await ids(1), await ids(1), await ids(2)

    assert first == again
    assert len({*first, *other}) == 6
    assert {uuid.UUID(request_id).version for request_id in first} == {4}


async def test_images_and_videos_are_scored_by_the_words_of_their_address() -> None:
    documents = [
        {"image": "https://example.com/red-bicycle.jpg"},
        {"video": "https://example.com/kitchen.mp4"},
        {"text": "a bicycle"},
        "a kitchen",
        {"image": value_or_url(image_of_bytes(png("a bicycle", size=(320, 320))))},
    ]
    count = TokenCounter().count

    async with running_emulator() as service:
        body = (
            await ask(
                service.url,
                nested(
                    {"text": "red bicycle"}, documents, "qwen3-vl-rerank", return_documents=True
                ),
            )
        ).body

    results = body["output"]["results"]
    assert results[0]["document"] == documents[0]
    media_tokens = 1_000 + 7_680 + 100
    words = 5 * count("red bicycle") + count("a bicycle") + count("a kitchen")
    assert body["usage"] == {"total_tokens": media_tokens + words}


REFUSED = {
    "flat at the native endpoint": (flat(), 400, "InvalidParameter", "Field required: input"),
    "not JSON": (b'{"model":', 400, "InvalidParameter", "Required body invalid"),
    "not an object": (b"[]", 400, "InvalidParameter", "Required body invalid"),
    "no model": ({"input": {}}, 400, "InvalidParameter", "Field required: model"),
    "no query": (nested(None), 400, "InvalidParameter", "Field required: input.query"),
    "no documents": (nested(documents=None), 400, "InvalidParameter", "required: input.documents"),
    "documents as text": (nested(documents="x"), 400, "InvalidParameter", "valid list"),
    "a number as document": (nested(documents=[1]), 400, "InvalidParameter", "valid string"),
    "an image for a text model": (
        nested(documents=[{"image": "https://example.com/a.png"}]),
        400,
        "InvalidParameter",
        "valid string",
    ),
    "top_n of 0": (nested(top_n=0), 400, "InvalidParameter", "top_n"),
    "unknown model": (nested(model="gte-rerank"), 404, "ModelNotFound", "gte-rerank"),
    "no document": (nested(documents=[]), 400, "InvalidParameter", "empty or larger than 500.:"),
    "501 documents": (
        nested(documents=["a"] * 501),
        400,
        "InvalidParameter",
        "<400> InternalError.Algo.InvalidParameter: Value error, batch size of documents is "
        "invalid, it should not be empty or larger than 500.: input.documents",
    ),
    "101 documents for vl": (
        nested(documents=["a"] * 101, model="qwen3-vl-rerank"),
        400,
        "InvalidParameter",
        "larger than 100.:",
    ),
    "a huge document": (
        nested(documents=["a", "b" * 300_001]),
        400,
        "InvalidParameter",
        "document index:1 is invalid, it should not be larger than 300000: input.documents",
    ),
    "41 images": (
        nested(documents=[{"image": "https://a.example/b"}] * 41, model="qwen3-vl-rerank"),
        400,
        "InvalidParameter",
        "not hold more than 40 of image",
    ),
    "5 videos": (
        nested(documents=[{"video": "https://a.example/b"}] * 5, model="qwen3-vl-rerank"),
        400,
        "InvalidParameter",
        "not hold more than 4 of video",
    ),
    "a local path": (
        nested(documents=[{"image": "tent.png"}], model="qwen3-vl-rerank"),
        400,
        "InvalidParameter",
        "url error, please check url! input.documents[0]",
    ),
    "a GIF": (
        nested(
            documents=[{"image": "data:image/gif;base64,R0lGODlhAQABAIAAAAUEBA=="}],
            model="qwen3-vl-rerank",
        ),
        400,
        "InvalidParameter",
        "The media format is not supported",
    ),
    "a URL that cannot be reached": (
        nested(documents=["a", {"image": "https://gone.invalid/b"}], model="qwen3-vl-rerank"),
        400,
        "InvalidParameter.DataInspection",
        "Unable to download",
    ),
    "a video as query": (
        nested({"video": "https://a.example/b"}, model="qwen3-vl-rerank"),
        400,
        "InvalidParameter",
        "valid string: input.query",
    ),
    "text and image in one document": (
        nested(documents=[{"text": "a", "image": "https://a.example/b"}], model="qwen3-vl-rerank"),
        400,
        "InvalidParameter",
        "valid string: input.documents[0]",
    ),
    "fps over 1": (nested(fps=2), 400, "InvalidParameter", "fps"),
    "an unknown parameter": (
        nested(frames=2),
        400,
        "InvalidParameter",
        "Extra inputs are not permitted: parameters.frames",
    ),
    "120,001 tokens": (
        nested("a " * 300, ["b"] * 500),
        400,
        "InvalidParameter",
        "Range of input length should be [1, 120000]",
    ),
    "30,001 tokens for gte": (
        nested("a " * 80, ["b"] * 500, "gte-rerank-v2"),
        400,
        "InvalidParameter",
        "[1, 30000]",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_bad_request_is_refused_as_the_service_does(case: str) -> None:
    body, status, code, message = REFUSED[case]

    async with running_emulator() as service:
        reply = await ask(service.url, body)

    assert (reply.status, reply.body["code"]) == (status, code)
    assert message in reply.body["message"]
    assert list(reply.body) == ["code", "message", "request_id"]


async def test_500_documents_and_a_legal_sum_of_tokens_are_scored() -> None:
    async with running_emulator() as service:
        reply = await ask(service.url, nested("a", ["b"] * 500))

    assert len(reply.body["output"]["results"]) == 500


@pytest.mark.parametrize("key", [None, "", "wrong"])
async def test_a_wrong_key_is_refused_in_the_envelope_of_each_endpoint(key: str | None) -> None:
    async with running_emulator(EmulatorConfig(api_key="right")) as service:
        native = await ask(service.url, nested(), key=key)
        compatible = await ask(service.url, flat(), path=COMPATIBLE.path, key=key)
        right = await ask(service.url, nested(), key="right")

    assert (native.status, compatible.status, right.status) == (401, 401, 200)
    assert native.body["code"] == "InvalidApiKey"
    assert native.body["message"] == "Invalid API-key provided."
    assert compatible.body == {
        "error": {
            "message": "Invalid API-key provided.",
            "type": "invalid_request_error",
            "code": "invalid_api_key",
            "param": None,
        }
    }


async def test_without_a_configured_key_any_nonempty_key_is_accepted() -> None:
    async with running_emulator() as service:
        statuses = [(await ask(service.url, nested(), key=key)).status for key in ("x", "", None)]

    assert statuses == [200, 401, 401]


async def test_a_model_that_is_only_native_is_refused_at_the_compatible_endpoint() -> None:
    async with running_emulator() as service:
        reply = await ask(service.url, flat(model="gte-rerank-v2"), path=COMPATIBLE.path)

    assert (reply.status, reply.body["error"]["code"]) == (404, "model_not_supported")


async def test_a_body_of_more_than_16_mib_is_refused_by_the_gateway() -> None:
    def body_of(size: int) -> bytes:
        empty = orjson.dumps(nested())
        return empty + b" " * (size - len(empty))

    async with running_emulator() as service:
        fits = await ask(service.url, body_of(16 * MIB))
        over = await ask(service.url, body_of(16 * MIB + 1))

    assert (fits.status, over.status) == (200, 413)


async def test_the_request_quota_holds_within_any_second_and_any_minute() -> None:
    clock = Clock()
    admitted = []

    async with running_emulator(EmulatorConfig(requests_per_minute=90), clock=clock) as service:
        for tick in range(480):  # two minutes, four requests a second
            clock.now = 1_000 + tick / 4
            reply = await ask(service.url, nested())
            if reply.status == 200:
                admitted.append(clock.now)
            else:
                assert reply.body["code"] == "Throttling.RateQuota"

    assert max(sum(0 <= time - start < 1 for time in admitted) for start in admitted) == 2
    assert max(sum(0 <= time - start < 60 for time in admitted) for start in admitted) == 90
    assert len(admitted) == 180


async def test_the_token_quota_refuses_until_the_window_has_room() -> None:
    clock = Clock()
    tokens = 3 * TokenCounter().count("a") + 3
    config = EmulatorConfig(tokens_per_minute=60 * 2 * tokens)

    async with running_emulator(config, clock=clock) as service:
        replies = [await ask(service.url, nested("a", ["b", "c", "d"])) for _ in range(3)]
        clock.now += 1
        later = await ask(service.url, nested("a", ["b", "c", "d"]))

    assert [reply.status for reply in replies] == [200, 200, 429]
    assert replies[2].body["code"] == "Throttling.AllocationQuota"
    assert replies[2].body["message"] == (
        "Allocated quota exceeded, please increase your quota limit."
    )
    assert later.status == 200


async def test_one_request_larger_than_a_seconds_share_is_admitted_alone() -> None:
    clock = Clock()

    async with running_emulator(EmulatorConfig(tokens_per_minute=120), clock=clock) as service:
        statuses = [(await ask(service.url, nested())).status for _ in range(2)]
        clock.now += 1
        statuses.append((await ask(service.url, nested())).status)

    assert statuses == [200, 429, 200]


async def test_the_quota_tolerates_the_configured_jitter() -> None:
    clock = Clock()
    config = EmulatorConfig(requests_per_minute=60, clock_jitter_s=0.05)

    async with running_emulator(config, clock=clock) as service:
        statuses = []
        for late in (0, 0.96, 2, 2.94):
            clock.now = 1_000 + late
            statuses.append((await ask(service.url, nested())).status)

    assert statuses == [200, 200, 200, 429]


async def test_the_latency_is_a_minimum() -> None:
    loop = asyncio.get_running_loop()

    async with running_emulator(EmulatorConfig(latency_ms=80)) as service:
        start = loop.time()
        await ask(service.url, nested())

    assert loop.time() - start >= 0.08


async def test_the_stats_count_requests_by_outcome() -> None:
    clock = Clock()

    async with running_emulator(clock=clock) as service:
        first = await ask(service.url, nested())
        clock.now += 5
        await asyncio.gather(*(ask(service.url, nested()) for _ in range(3)))
        await ask(service.url, b"")
        async with aiohttp.ClientSession() as session:
            shown = await (await session.get(f"{service.url}/emulator/stats")).json()

    assert shown == service.stats.as_dict()
    assert 1 <= shown.pop("max_in_flight") <= 3
    assert shown == {
        "requests": 5,
        "by_status": {"200": 4, "400": 1},
        "documents": 12,
        "total_tokens": 4 * first.body["usage"]["total_tokens"],
        "search_units": 0,
        "in_flight": 0,
        "peak_requests_per_second": 4,
        "peak_requests_per_ten_seconds": 5,
    }
