"""The emulator's faults: each by its name, and which request gets which."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp
import orjson
import pytest

from jobs.emulator.config import EmulatorConfig
from jobs.emulator.faults import NAMES, Fault, FaultPlan
from jobs.emulator.lifecycle import running_emulator
from jobs.emulator.wire_formats import NATIVE
from pipeline.core.errors import SettingsError

DOCUMENTS = ["a cold battery", "a warm stove", "a wet tent"]


async def post(url: str, documents: list[str] = DOCUMENTS, query: str = "battery") -> Any:
    """Return status and body; a broken connection raises an exception."""
    body = {"model": "qwen3-rerank", "input": {"query": query, "documents": documents}}
    async with (
        aiohttp.ClientSession(headers={"Authorization": "Bearer any"}) as session,
        session.post(url + NATIVE.path, data=orjson.dumps(body)) as response,
    ):
        return response.status, await response.read()


async def meet(fault: str, documents: list[str] = DOCUMENTS) -> Any:
    async with running_emulator(EmulatorConfig(faults=(Fault.parse(fault),))) as service:
        return await post(service.url, documents)


async def settled(is_so: Callable[[], bool]) -> None:
    """Let the event loop run until the condition holds."""
    while not is_so():  # noqa: ASYNC110
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("fault", "status", "code", "message"),
    [
        ("500", 500, "InternalError", ""),
        ("503", 503, "ModelUnavailable", ""),
        ("429-rate", 429, "Throttling.RateQuota", ""),
        ("429-burst", 429, "Throttling.BurstRate", ""),
        ("429-tokens", 429, "Throttling.AllocationQuota", "Allocated quota exceeded, please"),
        ("429-free-quota", 429, "Throttling.AllocationQuota", "Free allocated quota exceeded."),
        ("arrearage", 400, "Arrearage", ""),
        ("access-denied", 403, "AccessDenied", ""),
        ("error-in-200", 200, "InternalError", ""),
        ("megabyte-error", 500, "InternalError", "overflow " * 120_000),
    ],
)
async def test_a_refusal_comes_in_the_envelope(
    fault: str, status: int, code: str, message: str
) -> None:
    got_status, raw = await meet(fault)

    body = orjson.loads(raw)
    assert (got_status, body["code"]) == (status, code)
    assert message in body["message"]


@pytest.mark.parametrize(("fault", "status"), [("502-html", 502), ("html-in-200", 200)])
async def test_a_gateways_page_is_html(fault: str, status: int) -> None:
    got_status, raw = await meet(fault)

    assert got_status == status
    assert raw.startswith(b"<html>")


@pytest.mark.parametrize(
    ("fault", "indices"),
    [
        ("missing-index", [1, 0]),
        ("repeated-index", [1, 0, 1]),
        ("out-of-range-index", [1, 0, 1_000_000]),
        ("empty-results", []),
        ("null-score", [1, 0, 2]),
    ],
)
async def test_a_fault_of_the_answer_makes_it_invalid(fault: str, indices: list[int]) -> None:
    documents = ["a cold battery with much else to tell", "a cold battery", "a wet tent"]

    status, raw = await meet(fault, documents)

    results = orjson.loads(raw)["output"]["results"]
    assert status == 200
    assert [result["index"] for result in results] == indices
    assert (fault == "null-score") == any(r["relevance_score"] is None for r in results)


@pytest.mark.parametrize(("fault", "count"), [("missing-index", 0), ("repeated-index", 2)])
async def test_the_answer_to_one_document_can_be_made_invalid(fault: str, count: int) -> None:
    _, raw = await meet(fault, ["a tent"])

    assert [r["index"] for r in orjson.loads(raw)["output"]["results"]] == [0] * count


async def test_a_score_can_be_nan() -> None:
    _, raw = await meet("nan")

    assert b'"relevance_score": NaN' in raw


async def test_json_can_be_truncated() -> None:
    status, raw = await meet("truncated-json")

    assert status == 200
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(raw)


async def test_a_connection_can_be_reset_before_the_answer() -> None:
    with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
        await meet("reset-before")


async def test_a_connection_can_be_reset_during_the_answer() -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        await meet("reset-during")


async def test_a_request_can_hang_until_its_client_gives_up() -> None:
    async with running_emulator(EmulatorConfig(faults=(Fault("hang"),))) as service:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(post(service.url), 0.2)
        await settled(lambda: not service.stats.in_flight)

    assert service.stats.by_status == {"abandoned": 1}


async def test_the_service_ends_at_once_while_a_request_hangs() -> None:
    async with running_emulator(EmulatorConfig(faults=(Fault("hang"),))) as service:
        hanging = asyncio.create_task(post(service.url))
        await settled(lambda: bool(service.stats.in_flight))

    with pytest.raises(aiohttp.ClientError):
        await hanging
    assert service.stats.by_status == {"reset": 1}


async def test_poison_affects_only_requests_that_contain_it() -> None:
    async with running_emulator(EmulatorConfig(faults=(Fault("poison"),))) as service:
        clean, _ = await post(service.url)
        poisoned, raw = await post(service.url, [*DOCUMENTS, "has a poison-pill in it"])

    assert (clean, poisoned) == (200, 400)
    assert orjson.loads(raw)["code"] == "DataInspectionFailed"


async def test_without_the_fault_the_marker_is_an_ordinary_word() -> None:
    async with running_emulator() as service:
        status, _ = await post(service.url, ["poison-pill"])

    assert status == 200


async def test_a_fault_can_affect_one_request_alone() -> None:
    async with running_emulator(EmulatorConfig(faults=(Fault.parse("503@2"),))) as service:
        statuses = [(await post(service.url))[0] for _ in range(4)]

    assert statuses == [200, 503, 200, 200]


async def fates(seed: int, in_flight: int) -> dict[str, list[str]]:
    """Return the outcome of each attempt at each of 60 queries, until it was answered."""
    met: dict[str, list[str]] = {}
    slots = asyncio.Semaphore(in_flight)

    async def insist(url: str, query: str) -> None:
        async with slots:
            met[query] = []
            while met[query][-1:] != ["200"]:
                try:
                    met[query].append(str((await post(url, query=query))[0]))
                except aiohttp.ClientPayloadError:
                    met[query].append("reset-during")
                except aiohttp.ClientConnectionError:
                    met[query].append("reset-before")

    async with running_emulator(EmulatorConfig(fail_rate=0.4, seed=seed)) as service:
        await asyncio.gather(*(insist(service.url, f"battery {n}") for n in range(60)))
    return met


async def test_equal_seeds_give_equal_faults_at_any_concurrency() -> None:
    one_by_one, together, other = await fates(1, 1), await fates(1, 20), await fates(2, 20)

    assert one_by_one == together
    assert one_by_one != other
    outcomes = Counter(outcome for met in together.values() for outcome in met)
    assert outcomes.keys() == {"200", "500", "503", "reset-before", "reset-during"}
    assert 0.3 < 1 - outcomes["200"] / outcomes.total() < 0.5
    assert any(len(met) > 2 for met in together.values())


def test_a_content_that_succeeded_gets_the_same_faults_again() -> None:
    plan = FaultPlan([Fault("500", 0.5)], 0.0, seed=3)

    def until_answered() -> list[str | None]:
        met = [plan.draw(7, is_poisoned=False)]
        while met[-1] is not None:
            met.append(plan.draw(7, is_poisoned=False))
        plan.forget(7)
        return met

    assert until_answered() == until_answered()


def test_a_rate_is_the_share_of_requests_that_fail() -> None:
    plan = FaultPlan([Fault("500", 0.1), Fault("503", 0.2)], 0.0, seed=0)

    met = Counter(plan.draw(content, is_poisoned=False) for content in range(5_000))

    assert met["500"] == pytest.approx(500, rel=0.15)
    assert met["503"] == pytest.approx(0.2 * 4_500, rel=0.15)


@pytest.mark.parametrize("name", NAMES)
def test_every_fault_can_be_chosen_by_name(name: str) -> None:
    assert Fault.parse(name) == Fault(name)
    assert Fault.parse(f"{name}=0.25") == Fault(name, rate=0.25)
    assert Fault.parse(f"{name}@7") == Fault(name, at=7)


@pytest.mark.parametrize("text", ["", "501", "500=2", "500=x", "500@0", "500@-1", "500@x", "=0.1"])
def test_an_unknown_fault_is_refused_with_the_known_names(text: str) -> None:
    with pytest.raises(SettingsError, match="reset-before"):
        Fault.parse(text)
