"""The emulator's distortions: drawn once for each request's content, in the order of the logits."""

import numpy as np
import pytest

from jobs.emulator import config
from jobs.emulator.distortions import DISTORTIONS, to_scores

LOGITS = np.random.default_rng(5).normal(-3, 3, 200)


def scores(distortion: str, content: int = 1, seed: int = 0, noise: float = 0.0) -> np.ndarray:
    return to_scores(LOGITS, distortion, noise=noise, content=content, seed=seed)


@pytest.mark.parametrize("distortion", config.DISTORTIONS)
def test_a_distortion_keeps_the_order_and_is_the_same_for_the_same_request(distortion: str) -> None:
    first = scores(distortion)

    assert np.array_equal(first, scores(distortion))
    assert ((first >= 0) & (first <= 1)).all()
    assert (np.diff(first[np.argsort(LOGITS)]) > 0).all()


@pytest.mark.parametrize("distortion", ["affine", "monotone"])
def test_a_drawn_distortion_differs_by_content_and_seed(distortion: str) -> None:
    first = scores(distortion)

    assert not np.allclose(first, scores(distortion, content=2))
    assert not np.allclose(first, scores(distortion, seed=1))


def test_affine_is_a_line_on_the_logit_and_monotone_is_not() -> None:
    def residual(distortion: str) -> float:
        got = scores(distortion)
        bent = np.log(got / (1 - got))
        return float(np.abs(bent - np.polyval(np.polyfit(LOGITS, bent, 1), LOGITS)).max())

    assert residual("none") < 1e-6
    assert residual("affine") < 1e-6
    assert residual("monotone") > 0.2


def test_set_distortions_depend_on_the_other_documents() -> None:
    assert scores("softmax").sum() == pytest.approx(1)
    assert (scores("minmax").min(), scores("minmax").max()) == (0, 1)
    zscores = scores("zscore")
    assert np.log(zscores / (1 - zscores)).std() == pytest.approx(2)


@pytest.mark.parametrize("distortion", config.DISTORTIONS)
def test_one_document_alone_gets_a_score(distortion: str) -> None:
    score = to_scores(np.array([1.5]), distortion, noise=0.0, content=1, seed=0)

    assert score.shape == (1,)
    assert 0 <= score[0] <= 1


def test_noise_has_its_deviation_on_the_logit() -> None:
    noisy = scores("none", noise=0.3)

    assert (np.log(noisy / (1 - noisy)) - LOGITS).std() == pytest.approx(0.3, rel=0.2)


def test_every_distortion_that_can_be_set_exists() -> None:
    assert tuple(DISTORTIONS) == config.DISTORTIONS
