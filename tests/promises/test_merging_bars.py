"""A few queries for each bar of the benchmarks of merging, `tests/benchmarks/bench_merging*.py`."""

import pytest
from benchmarks import bench_merging_verdicts as verdicts
from benchmarks.bench_merging import CASES, simulate, verdict


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_merging_reaches_the_bars_and_the_controls_do_not(case):
    queries = 20 if case.num_documents <= 3000 else 5

    assert verdict(case, simulate(case, queries)) == []


@pytest.mark.parametrize("case", verdicts.CASES, ids=lambda case: case.name)
def test_requests_are_called_comparable_only_if_they_are_in_any_range(case):
    assert verdicts.missed(case, verdicts.simulate(case, 12)) == []
