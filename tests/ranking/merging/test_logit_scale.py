"""Scores as logits: the step of rounding, finite values, weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ranking.merging.logit_scale import NOISE, LogitScale

unhurried = settings(deadline=None)


@unhurried
@given(st.integers(1, 14), st.lists(st.integers(0, 10**14), min_size=1))
def test_the_decimals_of_rounded_scores_are_recognised(digits, numbers):
    scores = np.array([float(f"{n % 10**digits / 10**digits:.{digits}f}") for n in numbers])

    quantum = LogitScale.of(scores).quantum

    assert 10.0**-digits <= quantum <= 0.1


def test_full_floats_have_the_finest_quantum():
    assert LogitScale.of(np.array([1 / 3, 0.5])).quantum == 1e-12


@pytest.mark.parametrize("scores", [[0.2, 1.5], [-0.1, 0.3], [-7.0, 4.0]])
def test_scores_outside_0_and_1_are_logits(scores):
    scale = LogitScale.of(np.array(scores))

    assert scale.quantum is None
    assert scale.logit(np.array(scores)).tolist() == scores
    assert (scale.weight(np.array(scores)) == NOISE**-2).all()


def test_logits_are_finite_at_0_and_1_and_convert_back_into_scores():
    scale = LogitScale(0.001)
    scores = np.array([0, 0.001, 0.5, 0.999, 1])

    logits = scale.logit(scores)

    assert np.isfinite(logits).all()
    assert scale.score(logits) == pytest.approx([0.0005, 0.001, 0.5, 0.999, 0.9995])


def test_saturated_and_missing_scores_have_no_weight_and_coarse_ones_little():
    weight = LogitScale(0.001).weight(np.array([0, 0.001, 0.002, 0.5, 0.999, 1, np.nan]))

    assert weight.tolist() == [0, 0, weight[2], weight[3], 0, 0, 0]
    assert weight[2] < weight[3] == pytest.approx(NOISE**-2, rel=1e-3)
