"""The affine link finds the lines of requests, outliers or not."""

import numpy as np
import pytest

from pipeline.ranking.merging.affine_link import fit_affine


def lines(rng: np.random.Generator) -> np.ndarray:
    """Return the logits of eight anchors in four requests, each a line of the same values."""
    value, offset = rng.normal(-3, 3, 8), rng.normal(0, 1, 4)
    slope = np.exp(rng.normal(0, 0.2, 4))
    return offset + slope * value[:, None]


def test_the_affine_fit_finds_lines():
    logit = lines(np.random.default_rng(0))

    link = fit_affine(logit, np.full(logit.shape, 100.0), steps=40, robust=False)

    common = np.array([link.to_reference(logit[:, r], r) for r in range(4)])
    assert np.ptp(common, axis=0) == pytest.approx(0, abs=0.02)
    assert np.log(link.slope).mean() == pytest.approx(0)
    assert link.offset.mean() == pytest.approx(link.center)


def test_the_robust_fit_ignores_an_outlier():
    logit = lines(np.random.default_rng(1))
    spoilt = logit.copy()
    spoilt[3, 2] += 8
    weight = np.full(logit.shape, 100.0)

    plain = fit_affine(spoilt, weight, steps=30, robust=False)
    robust = fit_affine(spoilt, weight, steps=30, robust=True)

    def disagreement(link) -> float:
        return float(np.ptp([link.to_reference(logit[:, r], r) for r in range(4)], axis=0).max())

    assert 3 * disagreement(robust) < disagreement(plain)
