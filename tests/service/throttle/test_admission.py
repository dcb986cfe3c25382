"""All limits together: which of them a refusal cuts."""

import asyncio
import logging

import pytest
from support.virtual_clock import on_virtual_clock

from pipeline.core.errors import Throttled
from pipeline.core.settings import Pace
from pipeline.service.metrics import QuotaUse
from pipeline.service.throttle.admission import AdmissionControl
from pipeline.service.throttle.text_kind import UNKNOWN_KIND


def control() -> AdmissionControl:
    pace = Pace(requests_per_minute=6_000, tokens_per_minute=6_000)
    return AdmissionControl(pace, QuotaUse(), lambda: None)


@on_virtual_clock
async def test_the_kind_of_texts_matters_once_a_tenth_of_the_quota_of_tokens_is_used() -> None:
    limits = AdmissionControl(Pace(tokens_per_minute=60_000_000), QuotaUse(), lambda: None)
    await limits.grant(1, 1, UNKNOWN_KIND)

    before = limits.try_grant_of_any_kind(1, 60)
    limits.tokens.enter(limits.now(), 103_000)
    after = limits.try_grant_of_any_kind(1, 60)

    assert (before is not None, after is not None) == (True, False)


@on_virtual_clock
async def test_the_kind_of_texts_matters_while_a_refusal_holds_the_rate_down() -> None:
    limits = AdmissionControl(Pace(tokens_per_minute=60_000), QuotaUse(), lambda: None)
    permit = await limits.grant(1, 1, UNKNOWN_KIND)
    permit.throttled(Throttled("Throttling", limit="tokens"))
    await asyncio.sleep(60)

    assert limits.try_grant_of_any_kind(1, 1) is None


@pytest.mark.parametrize(
    ("limit", "cut"),
    [
        ("requests", (True, False, False)),
        ("growth", (True, False, False)),
        ("tokens", (False, True, False)),
        ("capacity", (False, False, True)),
    ],
)
@on_virtual_clock
async def test_the_limit_that_the_refusal_names_is_cut(limit, cut) -> None:
    limits = control()
    permit = await limits.grant(1, 1, UNKNOWN_KIND)

    permit.throttled(Throttled("Throttling", limit=limit))

    requests, tokens = limits.requests.rate.current, limits.tokens.rate.current
    assert requests is not None
    assert tokens is not None
    assert (requests < 100, tokens < 100, limits.concurrency.version > 0) == cut


@on_virtual_clock
async def test_a_cut_is_logged_with_the_new_rates(caplog) -> None:
    permit = await control().grant(1, 1, UNKNOWN_KIND)

    with caplog.at_level(logging.WARNING):
        permit.throttled(Throttled("Throttling.RateQuota", limit="requests", retry_after_s=7))

    (record,) = caplog.records
    assert record.event == "pace.cut"
    assert record.fields == {
        "limit": "requests",
        "code": "Throttling.RateQuota",
        "refused": 1,
        "granted_per_s": 0.0,
        "requests_per_s": 85.0,
        "tokens_per_s": 100.0,
        "pause_s": 7,
    }


@on_virtual_clock
async def test_the_tokens_of_a_refused_request_are_given_back() -> None:
    """Each takes two thirds of a minute's tokens; the even pace alone is 40 s."""
    limits = AdmissionControl(Pace(tokens_per_minute=60_000), QuotaUse(), lambda: None)
    clock = asyncio.get_running_loop().time
    permit = await limits.grant(1, 40_000, UNKNOWN_KIND)
    refused_at = clock()
    permit.throttled(Throttled("Throttling", limit="capacity", retry_after_s=1))

    await limits.grant(1, 40_000, UNKNOWN_KIND)

    assert clock() - refused_at == pytest.approx(40, abs=1)


@on_virtual_clock
async def test_a_retry_after_beyond_reason_is_waited_for_ten_minutes() -> None:
    limits = control()
    permit = await limits.grant(1, 1, UNKNOWN_KIND)
    permit.throttled(Throttled("Throttling", retry_after_s=1e9))

    await limits.grant(1, 1, UNKNOWN_KIND)

    assert asyncio.get_running_loop().time() == pytest.approx(600, abs=1)
