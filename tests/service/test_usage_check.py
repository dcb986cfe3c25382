"""Token counts that cannot be: they count as missing, and are warned of once."""

import logging
from typing import Any

import pytest
from support.client_bench import a_request, client_on, http_bench, score_all
from support.fake_reranker import Reply, served
from support.fake_transport import FakeTransport, billed
from support.virtual_clock import on_virtual_clock

from pipeline.core.settings import Pace

BOUND = a_request().tokens


@pytest.mark.parametrize("counted", [10**12, 10**26, -1])
@on_virtual_clock
async def test_an_impossible_count_is_taken_for_a_missing_one(
    counted: int, caplog: pytest.LogCaptureFixture
) -> None:
    transport = FakeTransport(*[billed(counted)] * 20)
    bench = client_on(transport, pace=Pace(tokens_per_minute=60_000))

    await score_all(bench.client, 20)

    assert bench.metrics.answered == 20
    assert bench.metrics.tokens == 20 * BOUND
    assert transport.sent[-1].at < 20 * BOUND / 1_000 + 0.1
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.event == "usage.ignored"
    assert record.fields["total_tokens"] == counted


async def test_a_count_that_is_no_number_is_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def in_words(body: dict[str, Any]) -> Reply:
        return Reply(200, {**served(body), "usage": {"total_tokens": "many"}})

    async with http_bench(*[in_words] * 3) as b:
        await score_all(b.client, 3)

    assert b.metrics.tokens == 3 * BOUND
    events = [record.event for record in caplog.records if record.levelno == logging.WARNING]  # type: ignore[attr-defined]
    assert events == ["usage.ignored"]


@on_virtual_clock
async def test_a_count_with_the_template_of_every_document_is_believed() -> None:
    bench = client_on(FakeTransport(billed(BOUND + 300)))

    await score_all(bench.client, 1)

    assert bench.metrics.tokens == BOUND + 300
