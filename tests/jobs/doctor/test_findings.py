"""Findings about the service's count of tokens."""

import pytest

from jobs.doctor.findings import Usage, describe_usage
from pipeline.core.models import PROFILES

QWEN = PROFILES["qwen3-rerank"]


@pytest.mark.parametrize(
    ("usages", "planned", "status", "text"),
    [
        ([(2, 40, 40), (500, 1_500, 1_500)], 0, "ok", "exactly"),
        ([(2, 40, 180), (500, 1_500, 36_500)], 0, "warn", "+ 70 per document"),
        ([(2, 40, 60), (500, 1_500, 6_500)], 14, "ok", "+ 10 per document, as planned"),
        ([(2, 40, 30), (500, 1_500, 1_001)], 0, "ok", "plans overestimate"),
        ([(2, 40, 50), (500, 1_500, 1_900)], 0, "warn", "1.27 times"),
    ],
)
def test_usage_is_compared_with_the_formula(
    usages: list[tuple[int, int, int]], planned: int, status: str, text: str
) -> None:
    finding = describe_usage(
        "tokens", [Usage(*usage) for usage in usages], planned_overhead=planned, profile=QWEN
    )

    assert finding.status == status
    assert text in finding.finding


def test_the_cure_corrects_what_a_plan_says_for_the_models_own_tokenizer() -> None:
    gte = PROFILES["gte-rerank-v2"]
    for times, status in ((1.0, "ok"), (2.0, "warn")):
        usages = [Usage(n, f, round(times * (1.13 * f + 4 * n))) for n, f in ((2, 40), (50, 4_001))]

        finding = describe_usage("tokens", usages, planned_overhead=4, profile=gte)

        assert finding.status == status
        assert ("by 2.00" in finding.cure) is (status == "warn")
