"""The report of a run: what limited it, and what it says of reuse, truncation and doubt."""

from typing import Any

import pytest
from msgspec import structs
from support.group_world import make_settings

from jobs.console.run_report import LIMITED_BY, show_report
from pipeline.core.providers import PROVIDERS
from pipeline.core.settings import Pace
from pipeline.dataset.summary import RunSummary

LATENCY_MS = {"p50": 8.0, "p95": 20.0, "p99": 30.0}


def report(capsys: pytest.CaptureFixture[str], **numbers: Any) -> dict[str, str]:
    """Return the lines of a report by their names."""
    summary = {"requests": 100, "seconds": 10.0, "latency_ms": LATENCY_MS} | numbers
    show_report(RunSummary(**summary), make_settings(), "out")
    lines = capsys.readouterr().out.splitlines()
    width = lines[0].index("0 queries")
    return {line[:width].strip(): line[width:].strip() for line in lines}


@pytest.mark.parametrize("bound_by", LIMITED_BY)
def test_every_limit_is_named_in_words(bound_by: str, capsys: pytest.CaptureFixture[str]) -> None:
    pace = report(capsys, bound_by=bound_by)["pace"]

    assert pace == LIMITED_BY[bound_by]


def test_the_share_of_the_quota_is_shown_with_its_limit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = report(capsys, bound_by="requests_per_minute", quota_used=0.98)

    assert facts["pace"] == "98% of the quota; limited by the quota of requests"


def test_a_throttled_run_below_its_quota_was_given_too_high_a_quota(
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = report(capsys, bound_by="tokens_per_minute", quota_used=0.5, throttled=7)

    assert facts["pace"] == (
        "50% of the quota; limited by the service's own quota, which is lower than the one given"
    )
    assert facts["retried"] == "0 after failures, 7 after 429"


@pytest.mark.parametrize("bound_by", ["requests_per_minute", "pause"])
def test_the_quota_that_was_granted_is_named(
    bound_by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = RunSummary(
        requests=100, latency_ms=LATENCY_MS, bound_by=bound_by, quota_used=0.1111, throttled=7
    )
    settings = structs.replace(make_settings(), pace=Pace(requests_per_minute=5_400))

    show_report(summary, settings, "out")

    assert "lower than the one given: try --requests-per-minute 600\n" in capsys.readouterr().out


def test_requests_are_told_apart_by_what_came_of_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = report(capsys, requests_sent=1_500, requests=0, requests_failed=1_490, throttled=10)

    assert facts["sent"].startswith(
        "1,500 requests (0 answered, 1,490 failed, 10 refused by 429) to qwen3-rerank"
    )
    assert "perhaps paid" not in facts


def test_what_may_have_been_paid_without_an_answer_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = report(capsys, requests_sent=101, requests_failed=1, unanswered=1, unanswered_usd=0.25)

    assert facts["perhaps paid"] == "1 request without a usable answer, up to $0.2500"


def test_truncated_documents_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    facts = report(capsys, truncated_documents=33, truncated_queries=1)

    assert facts["truncated"] == "33 documents, 1 query over 4,000 tokens"


def test_queries_with_an_uncertain_order_are_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_report(RunSummary(merge_status={"unstable": 2}), make_settings(), "out")

    assert capsys.readouterr().out.splitlines()[-1] == (
        "warning: 2 queries unstable: requests disagree; the order below the certified depth is"
        " uncertain"
    )


def test_a_rehearsal_says_what_it_would_cost(capsys: pytest.CaptureFixture[str]) -> None:
    settings = structs.replace(make_settings(), provider=PROVIDERS["emulator"])

    show_report(
        RunSummary(requests=1, seconds=1.0, latency_ms=LATENCY_MS, cost_usd=2.0), settings, "o"
    )

    assert "would cost $2.0000" in capsys.readouterr().out
