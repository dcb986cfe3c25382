"""The affine link finds the lines of requests, outliers or not."""

import numpy as np
import pytest

from pipeline.ranking.merging.affine_link import MAX_SLOPE, MIN_SLOPE, fit_affine


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


def test_no_request_is_taken_for_more_than_so_much_wider_than_another() -> None:
    spread = np.linspace(-1, 1, 8)[:, None]
    value = spread * np.array([1e-6, 1, 1e6])

    slope = fit_affine(value, np.ones_like(value) * 1e9, steps=20, robust=False).slope

    assert slope.max() / slope.min() <= MAX_SLOPE / MIN_SLOPE * (1 + 1e-9)


def test_anchors_without_weight_do_not_make_the_others_look_like_outliers() -> None:
    """The scale of the residuals is that of anchors that count, however little they do."""
    rng = np.random.default_rng(1)
    value = np.linspace(-2, 2, 8)[:, None] + 0.05 * rng.normal(size=(8, 3))
    value[7] += np.array([3, 0, -3])  # an outlier
    weight = np.ones_like(value)
    weight[:3, 0] = 0

    little, much = (
        fit_affine(value, scale * weight, steps=12, robust=True) for scale in (0.9, 1.1)
    )

    assert np.abs(little.offset - much.offset).max() < 0.05
