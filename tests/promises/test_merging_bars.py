"""A few queries for each bar of the benchmark, `tests/benchmarks/bench_merging.py`."""

import pytest
from benchmarks.bench_merging import CASES, simulate, verdict


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_merging_reaches_the_bars_and_the_controls_do_not(case):
    queries = 20 if case.num_documents <= 3000 else 5

    assert verdict(case, simulate(case, queries)) == []
