"""Settling: as few exact counts as decide whether documents fit."""

from unittest import mock

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from support.token_texts import COUNTER, TEXTS, ids, some

from pipeline.tokens.bounds import upper_bounds
from pipeline.tokens.counter import TokenCounter
from pipeline.tokens.settling import settle


@some
@given(st.lists(TEXTS, max_size=40), st.integers(0, 400), st.integers(1, 60))
def test_settling_agrees_with_exact_counts(texts: list[str], budget: int, cap: int) -> None:
    exact = np.array([min(len(ids(text)), cap) for text in texts], dtype=np.int64)
    bounds = upper_bounds(pa.array(texts, pa.string()))

    settled = settle(texts, bounds, COUNTER, budget=budget, cap=cap)

    assert settled.fits == (exact.sum() <= budget)
    assert (settled.weights >= exact).all()
    assert (settled.weights != np.minimum(bounds, cap)).sum() <= settled.num_counted <= len(texts)
    if settled.fits:
        assert settled.weights.sum() <= budget
    else:
        assert settled.weights.tolist() == exact.tolist()


def test_settling_loads_no_vocabulary_if_the_bounds_fit() -> None:
    with mock.patch("pipeline.tokens.counter.load_encoding") as load:
        settled = settle(["some words"], np.array([10]), TokenCounter(), budget=10, cap=100)

    assert (settled.fits, settled.num_counted, settled.weights.tolist()) == (True, 0, [10])
    assert not load.called


def test_settling_counts_the_largest_first_until_the_sum_fits() -> None:
    texts = [f"{'word ' * n}end" for n in range(100)]
    bounds = upper_bounds(pa.array(texts))

    settled = settle(texts, bounds, COUNTER, budget=int(bounds.sum()) - 900, cap=4_000)

    assert settled.fits
    assert settled.num_counted == 3
    assert (settled.weights[:97] == bounds[:97]).all()
    assert settled.weights[97:].tolist() == COUNTER.counts(texts[97:]).tolist()
