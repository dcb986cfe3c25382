"""What held a run back, as its summary says it."""

import pytest

from pipeline.dataset.summary import bound_by
from pipeline.service.metrics import QuotaUse, Waits


def verdict(seconds: float, cpu_s: float, waits: Waits) -> str:
    """Return the verdict on a run that sent requests from its first second to its last."""
    return bound_by(QuotaUse(admitted_s=seconds, waits=waits), seconds=seconds, cpu_s=cpu_s)


@pytest.mark.parametrize(
    ("waits", "otherwise"),
    [(Waits(in_flight_s=9.0), "max_in_flight"), (Waits(), "source")],
)
def test_a_run_that_takes_a_whole_cpu_is_bound_by_it(waits: Waits, otherwise: str) -> None:
    assert verdict(10.0, 9.5, waits) == "cpu"
    assert verdict(10.0, 12.0, waits) == "cpu"
    assert verdict(10.0, 8.0, waits) == otherwise


def test_a_quota_binds_however_busy_the_cpu_is() -> None:
    assert verdict(10.0, 9.9, Waits(requests_s=9.0)) == "requests_per_minute"


def test_the_cpu_time_of_a_start_is_no_verdict() -> None:
    assert verdict(0.5, 0.5, Waits(in_flight_s=0.4)) == "max_in_flight"


def test_a_run_that_sent_requests_for_a_small_part_of_its_time_is_bound_by_its_source() -> None:
    quota_use = QuotaUse(admitted_s=2.0, waits=Waits(requests_s=2.0))

    assert bound_by(quota_use, seconds=10.0, cpu_s=1.0) == "source"
