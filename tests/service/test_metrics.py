"""What the numbers say: quantiles, the use of the quota, what bound the run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.service.metrics import LatencyHistogram, Metrics, Waits


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
    metrics = Metrics(requests_offered=100, requests_used=40, tokens_offered=1_000, tokens_used=990)

    assert metrics.quota_used == 0.99
    assert Metrics().quota_used is None


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
    assert Metrics(admitted_s=10, waits=waits).bound_by == bound_by
    assert Metrics(waits=waits).bound_by == "source"
