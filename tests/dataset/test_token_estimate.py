"""Estimated tokens: near the true count, from a sample of the texts."""

import numpy as np
import pytest
from support.group_world import COUNTER, make_group, tokens

from pipeline.dataset.token_estimate import SAMPLE_SIZE, TokenEstimate
from pipeline.planning.units import Units, whole_units
from pipeline.tokens.counter import TokenCounter

ENGLISH = "the job sends every query with its candidates to a model that reads them both".split()
CHINESE = "把每个问题和候选文档一起发给重排序模型然后写回新的顺序结果包括分数"
CODE = ["def f(x):", "return", "x[i]", "+=", "for i in range(10):", "self._value", "\n    "]


def text(random: np.random.Generator) -> str:
    kind, size = random.integers(3), int(random.lognormal(3.5, 0.6)) + 1
    if kind == 0:
        return " ".join(random.choice(ENGLISH, size))
    if kind == 1:
        return "".join(random.choice(list(CHINESE), size))
    return " ".join(random.choice(CODE, size))


def units_of(texts: list[str]) -> Units:
    group = make_group(texts)
    return whole_units(group, np.arange(len(texts)))


@pytest.mark.parametrize("seed", range(3))
def test_many_texts_are_estimated_within_one_percent(seed):
    random = np.random.default_rng(seed)
    texts = [text(random) for _ in range(4 * SAMPLE_SIZE)]
    estimate = TokenEstimate(COUNTER, len(texts), cap=4_000)
    times = random.integers(1, 4, len(texts))

    for start in range(0, len(texts), 97):
        part = slice(start, start + 97)
        estimate.add_units(units_of(texts[part]), times[part])

    exact = sum(tokens(one) * int(many) for one, many in zip(texts, times, strict=True))
    assert estimate.total() == pytest.approx(exact, rel=0.01)


def test_few_texts_are_counted_exactly():
    texts = [text(np.random.default_rng(seed)) for seed in range(300)]
    estimate = TokenEstimate(COUNTER, len(texts), cap=4_000)
    times = np.random.default_rng(0).integers(1, 4, len(texts))

    for one, many in zip(texts, times, strict=True):
        estimate.add_units(units_of([one]), np.array([many]))
    estimate.add_query(7, times=300)

    exact = sum(tokens(one) * int(many) for one, many in zip(texts, times, strict=True))
    assert estimate.total() == exact + 2_100


def test_only_a_sample_is_counted():
    counted = []

    class RecordingCounter(TokenCounter):
        def counts(self, texts, cap=None):
            counted.extend(texts)
            return super().counts(texts, cap)

    estimate = TokenEstimate(RecordingCounter(), 10 * SAMPLE_SIZE, cap=4_000)

    for start in range(0, 1_000, 7):
        estimate.add_units(units_of([f"text {start + n}" for n in range(7)]), np.ones(7, np.int64))

    assert counted == [f"text {number}" for number in range(0, 1_001, 10)]


def test_known_counts_are_taken_as_they_are_up_to_the_cap():
    units = units_of(["one two three", "four"])
    units.exact[:] = True
    units.tokens[:] = 50, 1
    estimate = TokenEstimate(COUNTER, 2, cap=40)

    estimate.add_units(units, np.array([2, 3]))
    estimate.add_query(60, times=2)

    assert estimate.total() == 40 * 2 + 1 * 3 + 40 * 2


def test_nothing_added_is_nothing():
    estimate = TokenEstimate(COUNTER, 0, cap=40)
    estimate.add_units(units_of([]), np.zeros(0, np.int64))

    assert estimate.total() == 0
