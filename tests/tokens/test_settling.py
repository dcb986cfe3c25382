"""Settling: as few exact counts as decide whether documents fit."""

from collections.abc import Sequence
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.token_texts import COUNTER, TEXTS, ids, some

from pipeline.core.arrays import IntArray
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


class Shares(TokenCounter):
    """Counts of each text a share of its characters, and notes how many it counts at once."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self._share = share
        self.at_once: list[int] = []

    def counts(self, texts: Sequence[str], cap: int | None = None) -> IntArray:
        self.at_once.append(len(texts))
        return np.array([int(self._share * len(text)) for text in texts])


@pytest.mark.parametrize(
    ("share", "budget", "at_once"),
    [
        (0.5, 7_500, [1, 49 + 6]),
        (0.5, 9_951, [1]),
        (0.5, 9_949, [1, 1]),
        (0.5, 5_000, [1, 99]),
        (0.5, 4_999, [1, 99]),
        (1.0, 9_000, [1, 2, 6, 18 + 2, 58 + 7, 6]),
    ],
)
def test_as_many_are_counted_at_once_as_are_likely_to_be_needed(
    share: float, budget: int, at_once: list[int]
) -> None:
    counter = Shares(share)

    settled = settle(["x" * 100] * 100, np.full(100, 100), counter, budget=budget, cap=4_000)

    assert counter.at_once == at_once
    assert settled.num_counted == sum(at_once)
    assert settled.fits == (settled.weights.sum() <= budget)
    assert settled.weights.tolist() == [int(100 * share)] * sum(at_once) + [100] * (
        100 - sum(at_once)
    )


def test_later_counts_tell_better_how_many_more_are_needed() -> None:
    """The largest text may gain most: then the counts of several do not suffice either."""

    class Uneven(Shares):
        def counts(self, texts: Sequence[str], cap: int | None = None) -> IntArray:
            super().counts(texts, cap)
            return np.array([10 if len(text) > 100 else 90 for text in texts])

    counter, lengths = Uneven(1.0), [110, *[100] * 99]

    settled = settle(
        ["x" * length for length in lengths], np.array(lengths), counter, budget=9_600, cap=4_000
    )

    # 410 too many: one gains 100; 4 more, of which 100 each is expected, gain 40; and so on.
    assert counter.at_once == [1, 4, 10 + 1, 11 + 1, 4]
    assert settled.fits
