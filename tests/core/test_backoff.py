"""Waits double up to a cap; with jitter they spread over the whole of that time."""

import pytest

from pipeline.core.backoff import Backoff


def test_waits_double_up_to_the_cap() -> None:
    backoff = Backoff(first_s=1.0, cap_s=15.0)

    assert [backoff.wait_s(earlier) for earlier in range(6)] == [1, 2, 4, 8, 15, 15]


def test_waits_stay_at_the_cap_however_long_it_takes() -> None:
    assert Backoff(first_s=0.25, cap_s=60.0).wait_s(100_000) == 60


@pytest.mark.parametrize(("earlier", "longest_s"), [(0, 1.0), (3, 8.0), (9, 20.0)])
def test_jitter_takes_any_part_of_the_wait(earlier, longest_s) -> None:
    backoff = Backoff(first_s=1.0, cap_s=20.0, jitter=True)

    waits_s = [backoff.wait_s(earlier) for _ in range(1_000)]

    assert max(waits_s) <= longest_s
    assert min(waits_s) < 0.1 * longest_s
    assert max(waits_s) > 0.9 * longest_s
