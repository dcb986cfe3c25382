"""Every preset is understood by the strict endpoint of its vendor, and understands its answers."""

import math
from typing import Any

import aiohttp
import numpy as np
import orjson
import pytest
from support.client_bench import request_of

from jobs.emulator.config import EmulatorConfig
from jobs.emulator.faults import Fault
from jobs.emulator.lifecycle import running_emulator
from jobs.emulator.vendor_formats import FORMATS, VENDORS
from jobs.emulator.wire_formats import NATIVE
from pipeline.core.errors import ServiceRefused, Throttled, TooLarge
from pipeline.core.providers import PROVIDERS
from pipeline.core.records import Scores
from pipeline.service.transport import HttpTransport
from pipeline.service.wire.formats import WIRE_FORMATS

QUERY = "how long does a battery last in the cold"
DOCUMENTS = (
    "The post office opens at nine.",
    "Batteries last half as long in the cold.",
    "A cold morning, 冷たい朝 🙂",
)


async def ask(name: str, documents: tuple[str, ...] = DOCUMENTS, **config: Any) -> Scores:
    """Ask the endpoint of a provider's format as a run does."""
    provider = PROVIDERS[name]
    settings = EmulatorConfig(format=provider.wire_format, **config)
    async with running_emulator(settings) as running:
        path = FORMATS[provider.wire_format]
        transport = HttpTransport(
            running.url + path,
            WIRE_FORMATS[provider.wire_format],
            model=provider.default_model or "a/model",
            api_key="a key" if provider.requires_key else None,
        )
        async with transport:
            return await transport.send(request_of(*documents, query=QUERY))


async def post(format_name: str, body: Any, key: str | None = "key") -> tuple[int, Any]:
    """Post a body by hand."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with (
        running_emulator(EmulatorConfig(format=format_name)) as running,
        aiohttp.ClientSession(headers=headers) as session,
        session.post(running.url + FORMATS[format_name], data=orjson.dumps(body)) as response,
    ):
        return response.status, orjson.loads(await response.read())


@pytest.mark.parametrize("name", PROVIDERS)
async def test_every_provider_gets_the_scores_that_the_native_endpoint_gives(name: str) -> None:
    expected = (await ask("dashscope-cn")).scores

    scores = (await ask(name)).scores

    if name == "llamacpp":
        scores = 1 / (1 + np.exp(-scores))
    assert scores.tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize("name", sorted(set(PROVIDERS) - {"cohere", "sglang", "tei"}))
async def test_the_tokens_that_a_service_counts_are_read(name: str) -> None:
    assert (await ask(name)).total_tokens == (await ask("dashscope")).total_tokens


@pytest.mark.parametrize("name", ["cohere", "sglang", "tei"])
async def test_a_service_that_counts_no_tokens_is_no_error(name: str) -> None:
    assert (await ask(name)).total_tokens is None


@pytest.mark.parametrize("name", VENDORS)
async def test_a_throttled_request_of_every_vendor_is_throttled(name: str) -> None:
    with pytest.raises(Throttled):
        await ask(name, faults=(Fault.parse("429-rate"),))


@pytest.mark.parametrize("name", [name for name in VENDORS if PROVIDERS[name].requires_key])
async def test_a_wrong_key_ends_the_run_with_every_vendor(name: str) -> None:
    with pytest.raises(ServiceRefused):
        await ask(name, api_key="another key")


async def test_text_embeddings_inference_takes_32_texts() -> None:
    assert PROVIDERS["tei"].profile("a").max_documents == 32
    with pytest.raises(TooLarge, match="batch size 33"):
        await ask("tei", tuple(f"text {number}" for number in range(33)))


@pytest.mark.parametrize("name", VENDORS)
async def test_an_endpoint_refuses_unknown_and_missing_fields(name: str) -> None:
    body: dict[str, Any] = {"query": "q", "documents": ["a"], "texts": ["a"], "model": "m"}
    body = {field: body[field] for field in VENDORS[name].required}

    assert (await post(name, body))[0] == 200
    assert (await post(name, body | {"surprise": 1}))[0] == 400
    for field in body:
        assert (await post(name, {**body, field: None}))[0] in (400, 404)
        missing = {other: value for other, value in body.items() if other != field}
        assert (await post(name, missing))[0] == 400


async def test_vllm_refuses_null_for_top_n_and_repeats_every_document() -> None:
    body = {"query": "q", "documents": ["one text"], "top_n": None}

    assert (await post("vllm", body))[0] == 400
    _, answer = await post("vllm", body | {"top_n": 0})
    assert answer["results"][0]["document"] == {"text": "one text"}


async def test_llama_cpp_answers_with_logits() -> None:
    _, answer = await post("llamacpp", {"query": QUERY, "documents": list(DOCUMENTS)})

    assert min(result["relevance_score"] for result in answer["results"]) < 0


async def test_cohere_counts_a_search_unit_for_each_hundred_documents() -> None:
    body = {"model": "rerank-v3.5", "query": "q", "documents": ["a"] * 101}

    _, answer = await post("cohere", body)

    assert answer["meta"]["billed_units"]["search_units"] == math.ceil(101 / 100)


async def test_the_endpoints_of_dashscope_stand_beside_any_format() -> None:
    async with (
        running_emulator(EmulatorConfig(format="tei")) as running,
        aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as session,
    ):
        body = {"model": "qwen3-rerank", "input": {"query": "q", "documents": ["a"]}}
        async with session.post(running.url + NATIVE.path, data=orjson.dumps(body)) as response:
            assert response.status == 200
