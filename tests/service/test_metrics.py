"""What the numbers say: quantiles, the use of the quota, what bound the run."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.service.metrics import LatencyHistogram, Metrics, QuotaUse, Waits


@given(
    st.lists(st.floats(0.001, 100.0), min_size=1, max_size=50), st.sampled_from([0.5, 0.95, 1.0])
)
def test_a_quantile_is_exact_to_a_tenth(latencies_s: list[float], share: float) -> None:
    histogram = LatencyHistogram()
    for latency_s in latencies_s:
        histogram.add(latency_s)

    exact_s = next(
        latency_s
        for number, latency_s in enumerate(sorted(latencies_s), 1)
        if number >= share * len(latencies_s)
    )
    assert histogram.quantile_ms(share) == pytest.approx(1_000 * exact_s, rel=0.1)


def test_latencies_beyond_the_buckets_are_counted_in_the_outermost() -> None:
    histogram = LatencyHistogram()
    for latency_s in (0.0, 1e-9, 1e9):
        histogram.add(latency_s)

    assert sum(histogram.counts) == 3
    assert histogram.counts[0] == 2
    assert histogram.counts[-1] == 1


def test_without_latencies_every_quantile_is_0() -> None:
    assert Metrics().latency_ms() == {"p50": 0.0, "p95": 0.0, "p99": 0.0}


def test_the_quota_is_used_as_far_as_its_tighter_limit() -> None:
    use = QuotaUse(requests_offered=100, requests_used=40, tokens_offered=1_000, tokens_used=990)

    assert use.share == 0.99
    assert QuotaUse().share is None


@pytest.mark.parametrize(
    ("waits", "bound_by"),
    [
        (Waits(), "source"),
        (Waits(requests_s=4), "source"),
        (Waits(requests_s=6), "requests_per_minute"),
        (Waits(requests_s=3, tokens_s=4), "tokens_per_minute"),
        (Waits(in_flight_s=9), "max_in_flight"),
        (Waits(documents_in_flight_s=9), "max_documents_in_flight"),
        (Waits(pause_s=9), "pause"),
    ],
)
def test_the_longest_wait_binds_if_waits_are_most_of_the_time(waits, bound_by) -> None:
    assert QuotaUse(admitted_s=10, waits=waits).bound_by == bound_by
    assert QuotaUse(waits=waits).bound_by == "source"


def test_the_use_since_a_copy_is_what_came_after_it() -> None:
    use = QuotaUse(admitted_s=2.0, requests_used=7, waits=Waits(pause_s=1.0))
    earlier = use.copy()
    use.requests_used += 3
    use.waits.pause_s += 0.5

    assert use.since(earlier) == QuotaUse(requests_used=3, waits=Waits(pause_s=0.5))
    assert earlier.requests_used == 7


def test_merged_numbers_are_the_sums() -> None:
    one = Metrics(answered=2, cost_usd=0.5, merge_status=Counter(comparable=1))
    other = Metrics(answered=3, cost_usd=0.25, merge_status=Counter(comparable=1, unstable=4))
    one.latency.add(0.1)
    other.latency.add(0.1)

    one.merge(other)

    assert (one.answered, one.cost_usd) == (5, 0.75)
    assert one.merge_status == {"comparable": 2, "unstable": 4}
    assert sum(one.latency.counts) == 2
    assert other.answered == 3
