"""An outage loses nothing, a request that always fails loses itself, a wrong service ends the run.

Whole runs in processes of their own, against servers that misbehave.
"""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from support.fake_reranker import FakeReranker, Fixed, Reply, Step, served
from support.real_runs import (
    Ended,
    end,
    groups,
    last_record,
    ranked,
    rerank,
    results,
    rows_of,
    start,
)

from pipeline.service.witness import TINY

HTML = Reply(200, b"<!doctype html><title>Sign in</title>", {"Content-Type": "text/html"})
FLAT = Reply(200, {"results": [{"index": 0, "relevance_score": 0.5}], "id": "x"})


@asynccontextmanager
async def running(fake: FakeReranker, given: Path, *options: object) -> AsyncIterator["Popen[str]"]:
    """Start a run against the service; kill it if the test ends before it."""
    address = ("--provider", "emulator", "--url", fake.url)
    pace = ("--requests-per-minute", 1_000_000)
    process = start("run", given, given.with_name("out"), *address, *pace, "--json", *options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        await asyncio.to_thread(process.communicate)


async def run(fake: FakeReranker, given: Path, *options: object) -> Ended:
    """Run to the end."""
    async with running(fake, given, *options) as process:
        return await asyncio.to_thread(end, process)


HEALTHY: dict[int, dict[str, bytes]] = {}
"""Results of runs over so many queries that met no trouble."""


async def healthy(count: int, folder: Path) -> dict[str, bytes]:
    """Return the results of a run over so many queries of two documents that meets no trouble."""
    if count not in HEALTHY:
        (folder / "healthy").mkdir()
        given = groups([2] * count, folder / "healthy" / "in.parquet")  # the name is in the results
        async with FakeReranker() as fake:
            assert (await run(fake, given)).code == 0
        HEALTHY[count] = results(given.with_name("out"))
    return HEALTHY[count]


def a_while(seconds: float, fault: Fixed, *, after: int = 0) -> Step:
    """Return a service with a fault for some seconds, once so many requests were served."""
    calls, ends_at = 0, 0.0

    def step(body: dict[str, Any]) -> Fixed:
        nonlocal calls, ends_at
        calls += 1
        now = asyncio.get_running_loop().time()
        if calls == after + 1:
            ends_at = now + seconds
        return fault if calls > after and now < ends_at else 200

    return step


def for_queries(fault: Fixed, is_poisoned: Callable[[str], bool]) -> Step:
    """Return a service with a fault for some queries, always."""
    return lambda body: fault if is_poisoned(body["input"]["query"]) else 200


def query(body: dict[str, Any]) -> str:
    found: str = body["input"]["query"]
    return found


def sent_for(fake: FakeReranker, wanted: str) -> int:
    """Return how often requests of a query were sent."""
    return sum(query(call.body) == wanted for call in fake.calls)


FAULTS: dict[str, Fixed] = {
    "503": 503,
    "reset": "reset",
    "no gzip": Reply(200, b"no gzip", {"Content-Encoding": "gzip"}),
}
PAGES: dict[str, Fixed] = {
    "login page": HTML,
    "empty": Reply(200, b""),
    "another vendor": FLAT,
    "410": Reply(410, b"gone"),
    "400": Reply(400, {"code": "InvalidParameter", "message": "Required body invalid"}),
    "redirect": Reply(302, b"", {"Location": "http://127.0.0.1:1/login"}),
    "403 page": Reply(403, b"<html>Forbidden</html>"),
}


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_short_outage_at_the_beginning_rejects_nothing(
    fault: Fixed, count: int, tmp_path: Path
) -> None:
    expected = await healthy(count, tmp_path)
    given = groups([2] * count, tmp_path / "in.parquet")
    async with FakeReranker(otherwise=a_while(0.8, fault)) as fake:
        ended = await run(fake, given, "--max-attempts", 1)

    assert ended.code == 0, ended.err
    assert results(tmp_path / "out") == expected
    assert ended.facts["requests_failed"] <= 8 + 4


@pytest.mark.parametrize("name", ["503", "reset", "login page", "403 page"])
async def test_an_outage_in_the_middle_rejects_nothing(name: str, tmp_path: Path) -> None:
    fault = (FAULTS | PAGES)[name]
    expected = await healthy(100, tmp_path)
    given = groups([2] * 100, tmp_path / "in.parquet")
    async with FakeReranker(otherwise=a_while(0.8, fault, after=40), latency_s=0.02) as fake:
        ended = await run(fake, given, "--max-attempts", 1, "--max-in-flight", 8)

    assert ended.code == 0, ended.err
    assert results(tmp_path / "out") == expected
    assert "service.down" in ended.err
    assert "service.back" in ended.err


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("fault", PAGES.values(), ids=PAGES)
async def test_a_wrong_service_ends_the_run_within_ten_requests(
    fault: Fixed, count: int, tmp_path: Path
) -> None:
    given = groups([2] * count, tmp_path / "in.parquet")
    async with FakeReranker(otherwise=fault) as fake:
        ended = await run(fake, given)

    assert ended.code == 4
    assert len(fake.calls) <= 10
    assert "--url and --provider: no request is served (found HTTP " in ended.failure
    assert not rows_of(tmp_path / "out" / "_rejects")
    assert last_record(tmp_path / "out")["exit_code"] == 4


@pytest.mark.parametrize(("fault", "reason"), [(500, "unavailable"), (HTML, "bad_answer")])
@pytest.mark.parametrize("count", [1, 100])
async def test_a_query_that_always_fails_is_rejected_alone(
    fault: Fixed, reason: str, count: int, tmp_path: Path
) -> None:
    expected = await healthy(count, tmp_path)
    given = groups([2] * count, tmp_path / "in.parquet")
    poison = "river river 0"
    async with FakeReranker(otherwise=for_queries(fault, lambda query: query == poison)) as fake:
        ended = await run(fake, given, "--max-attempts", 3)

    assert ended.code == 7, ended.err
    assert ended.facts["rejected"] == 2
    assert ended.facts["reject_reasons"] == {reason: 2}
    assert sent_for(fake, poison) == 3
    assert len(fake.calls) <= count - 1 + 3 + 3
    async with FakeReranker() as fake:
        again = await run(fake, given)
    assert again.code == 0, again.err
    assert {query(call.body) for call in fake.calls} == {poison}
    assert results(tmp_path / "out") == expected


async def test_many_queries_that_always_fail_are_rejected_and_the_others_ranked(
    tmp_path: Path,
) -> None:
    given = groups([2] * 200, tmp_path / "in.parquet")

    def is_poisoned(query: str) -> bool:
        return query != TINY.query and int(query.split()[-1]) % 10 < 3

    async with FakeReranker(otherwise=for_queries(503, is_poisoned), latency_s=0.05) as fake:
        ended = await run(fake, given, "--max-attempts", 2, "--max-rejects", 200)

    assert ended.code == 0, ended.err
    assert ended.facts["reject_reasons"] == {"unavailable": 2 * 60}
    assert len(fake.calls) <= 140 + 2 * 60 + 120, "a witness for each failure, at most"
    assert ended.facts["requests_sent"] == len(fake.calls)


async def test_documents_that_every_answer_leaves_out_are_rejected_alone(tmp_path: Path) -> None:
    given = groups([4] * 5, tmp_path / "in.parquet")
    async with FakeReranker() as fake:
        assert (await run(fake, given)).code == 0
    expected = results(tmp_path / "out")
    await asyncio.to_thread(shutil.rmtree, tmp_path / "out")

    def without_poison(body: dict[str, Any]) -> Reply:
        answer, documents = served(body), body["input"]["documents"]
        kept = [
            result
            for result in answer["output"]["results"]
            if not documents[result["index"]].endswith(" 2 1")
        ]
        return Reply(200, {**answer, "output": {"results": kept}})

    async with FakeReranker(otherwise=without_poison) as fake:
        ended = await run(fake, given, "--max-attempts", 2)
    out = tmp_path / "out"

    assert ended.code == 7, ended.err
    (reject,) = rows_of(out / "_rejects")
    assert (reject["doc_id"], reject["reason"]) == ("d2-1", "bad_answer")
    assert reject["message"] == "3 results for 4 documents"
    assert [row["doc_id"] for row in ranked(out) if row["relevance_score"] is None] == ["d2-1"]
    assert len(fake.calls) == 4 + 2
    async with FakeReranker() as fake:
        again = await run(fake, given)
    assert (again.code, len(fake.calls)) == (0, 1), "an answer with gaps is not stored"
    assert results(out) == expected


async def test_after_an_outage_without_end_the_same_command_continues(tmp_path: Path) -> None:
    expected = await healthy(60, tmp_path)
    given = groups([2] * 60, tmp_path / "in.parquet")
    async with FakeReranker(*[200] * 20, otherwise=503, latency_s=0.02) as fake:
        down = await run(fake, given, "--max-in-flight", 4, "--max-outage", 0.04)
        status = await asyncio.to_thread(rerank, "status", tmp_path / "out")
    async with FakeReranker() as fake:
        again = await run(fake, given)

    assert down.code == 8
    assert "served nothing for 2 s (found HTTP 503, ModelUnavailable" in down.failure
    assert (down.facts["requests"], down.facts["rejected"]) == (20, 0)
    sent = down.facts["requests_sent"]
    assert sent == 20 + down.facts["requests_failed"]
    assert f"{sent} requests (20 answered, {sent - 20} failed, 0 refused by 429)" in status.out
    assert (again.code, len(fake.calls)) == (0, 40)
    assert results(tmp_path / "out") == expected


async def test_a_signal_in_an_outage_ends_the_run_in_time(tmp_path: Path) -> None:
    given, loop = groups([2] * 60, tmp_path / "in.parquet"), asyncio.get_running_loop()
    async with FakeReranker(*[200] * 20, otherwise=503) as fake:
        async with running(fake, given, "--max-in-flight", 4) as process:
            await asyncio.sleep(4)
            process.send_signal(signal.SIGTERM)
            asked = loop.time()
            ended = await asyncio.to_thread(end, process)

    assert ended.code == 143
    assert loop.time() - asked < 5
    assert last_record(tmp_path / "out")["state"] == "interrupted"


async def test_requests_that_hang_end_with_the_timeout_and_may_have_been_paid(
    tmp_path: Path,
) -> None:
    given = groups([2] * 4, tmp_path / "in.parquet")
    async with FakeReranker("hang", "hang", latency_s=0.05) as fake:
        ended = await run(fake, given, "--timeout", 0.5)

    assert ended.code == 0, ended.err
    assert ended.facts["unanswered"] == ended.facts["requests_failed"] == 2
    assert ended.facts["unanswered_usd"] > 0


async def test_a_429_that_asks_for_no_wait_does_not_flood_the_service(tmp_path: Path) -> None:
    given = groups([2] * 6, tmp_path / "in.parquet")
    refused = Reply(429, {"code": "Throttling.RateQuota"}, {"Retry-After": "0"})
    async with FakeReranker(otherwise=a_while(0.9, refused)) as fake:
        ended = await run(fake, given)

    assert ended.code == 0, ended.err
    assert ended.facts["throttled"] < 30
    assert ended.facts["requests_sent"] == 6 + ended.facts["throttled"]


async def test_a_retry_after_of_a_day_is_no_reason_to_wait_a_day(tmp_path: Path) -> None:
    given = groups([2] * 3, tmp_path / "in.parquet")
    a_day = Reply(503, {"code": "ModelUnavailable"}, {"Retry-After": "86400"})
    async with FakeReranker(otherwise=a_day) as fake:
        ended = await run(fake, given, "--max-outage", 0.05)

    assert ended.code == 8
    assert ended.facts["seconds"] < 6
