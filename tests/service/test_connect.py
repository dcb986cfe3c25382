"""The whole client, as a run opens it, over HTTP."""

import logging

import pytest
from support.client_bench import KEY, a_request, http_bench, score_all
from support.fake_reranker import FakeReranker, Reply

from pipeline.core.errors import ContentRefused, OutageTooLong, SettingsError, Transient
from pipeline.core.models import PROFILES
from pipeline.core.providers import PROVIDERS
from pipeline.core.settings import Pace, RunSettings
from pipeline.service.connect import open_endpoint
from pipeline.service.cost_budget import CostBudget
from pipeline.service.throttle.throttle import Throttle


@pytest.mark.parametrize("fault", [500, "reset", "cut", "nonsense", "hang", Reply(200, b"{")])
async def test_after_a_fault_another_attempt_brings_the_scores(fault) -> None:
    async with http_bench(fault, total_timeout_s=0.2) as b:
        scores = await b.client.score(a_request())

    assert scores.scores.tolist() == [1, 1 / 2, 1 / 3]
    assert b.num_calls == b.metrics.requests == 3, "a witness before the second attempt"


async def test_no_more_connections_are_opened_than_requests_in_flight() -> None:
    async with http_bench(pace=Pace(max_in_flight=7), latency_s=0.005) as b:
        await score_all(b.client, 100)

        assert b.fake.max_in_flight == 7
        assert len({call.peer for call in b.fake.calls}) == 7


async def test_an_unreachable_address_is_waited_for_then_ends_the_job(unused_tcp_port) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/"

    async with http_bench(url=url, max_outage_s=0.2, max_attempts=1) as b:
        results = await score_all(b.client, 5)

    assert {type(result) for result in results} == {OutageTooLong}


@pytest.mark.parametrize(
    ("given", "max_outage_s", "max_unreached_s"),
    [(None, 600, 30), (20, 20, None), (900, 900, None)],
)
async def test_a_limit_that_is_given_holds_from_the_start(
    given, max_outage_s, max_unreached_s
) -> None:
    settings = RunSettings(
        provider=PROVIDERS["dashscope"],
        profile=PROFILES["qwen3-rerank"],
        url="http://localhost",
        max_outage_s=given,
    )

    async with open_endpoint(settings, KEY, Throttle(Pace()), CostBudget(None, 0.0)) as endpoint:
        policy = endpoint.policy

    assert (policy.max_outage_s, policy.max_unreached_s) == (max_outage_s, max_unreached_s)


async def test_an_attempt_takes_no_longer_than_the_settings_say() -> None:
    async with FakeReranker("hang", "hang") as fake:
        settings = RunSettings(
            provider=PROVIDERS["dashscope"],
            profile=PROFILES["qwen3-rerank"],
            url=fake.url,
            timeout_s=0.1,
        )
        budget = CostBudget(None, 0.0)
        async with open_endpoint(settings, KEY, Throttle(Pace()), budget) as endpoint:
            with pytest.raises(Transient, match="timeout"):
                await endpoint.transport.send(a_request())


async def test_no_key_and_no_text_is_logged(caplog) -> None:
    secret = "the patient of room twelve"
    echo = Reply(400, {"code": "DataInspectionFailed", "message": f"{secret} 0 and {KEY}"})

    with caplog.at_level(logging.DEBUG):
        async with http_bench(500, 200, echo) as b:
            with pytest.raises(ContentRefused) as caught:
                await b.client.score(a_request(text=secret))

    shown = caplog.text + str(caught.value) + repr(caught.value) + caught.value.message
    assert "request.answered query_id=q0 documents=3 status=500" in caplog.text
    assert "request.retry_scheduled query_id=q0 attempt=2" in caplog.text
    assert secret not in shown
    assert KEY not in shown + repr(b.client) + repr(b.throttle) + repr(b.metrics)


async def test_a_key_that_no_header_can_hold_is_refused_without_being_shown() -> None:
    settings = RunSettings(
        provider=PROVIDERS["dashscope"], profile=PROFILES["qwen3-rerank"], url="http://localhost"
    )

    with pytest.raises(SettingsError) as caught:
        async with open_endpoint(settings, "sk-\n123", Throttle(Pace()), CostBudget(None, 0.0)):
            pass

    assert "DASHSCOPE_API_KEY" in str(caught.value)
    assert "123" not in str(caught.value)
