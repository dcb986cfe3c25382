"""The comparability probe, on scores made by the tests."""

import numpy as np
import pytest

from jobs.doctor.comparability import evaluate_probe, probe_sets, sending_order
from jobs.doctor.findings import describe_probe
from jobs.doctor.texts import COMMON, EASY, STRONG


def sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


def logits() -> tuple[np.ndarray, np.ndarray]:
    common, easy, strong = (
        np.linspace(*span, len(texts))
        for span, texts in (((4, -6), COMMON), ((-4, -7), EASY), ((5, 2), STRONG))
    )
    return np.concatenate((common, easy)), np.concatenate((common, strong))


def test_the_sets_of_the_probe_share_their_first_documents() -> None:
    first, second, shared = probe_sets(500)

    assert (len(first), len(second), shared) == (140, 140, 40)
    assert first[:40] == second[:40] == COMMON
    assert len({*COMMON, *EASY, *STRONG}) == 240


@pytest.mark.parametrize(("most", "shared"), [(100, 40), (60, 30), (32, 16), (2, 1)])
def test_the_probe_respects_a_small_limit_of_documents(most: int, shared: int) -> None:
    first, second, num_common = probe_sets(most)

    assert (len(first), len(second), num_common) == (most, most, shared)
    assert set(first) & set(second) == set(first[:shared]) == set(second[:shared])


def test_documents_are_sent_in_an_order_of_their_own() -> None:
    order = sending_order(COMMON + EASY)

    assert sorted(order) == list(range(140))
    assert 10 <= sum(place < len(COMMON) for place in order[:70]) <= 30


def test_noise_between_repeats_is_measured() -> None:
    first, second = logits()
    rng = np.random.default_rng(0)
    noisy = [sigmoid(x + 0.1 * rng.standard_normal(140)) for x in (first, second, first)]

    result = evaluate_probe(*noisy, num_common=40)

    assert result.comparable
    assert result.repeat_sd == pytest.approx(0.1, rel=0.2)
    assert result.set_rms == pytest.approx(0.1, rel=0.35)


def test_a_shift_between_the_sets_is_measured() -> None:
    first, second = logits()

    result = evaluate_probe(sigmoid(first), sigmoid(second - 0.5), sigmoid(first), num_common=40)

    assert not result.comparable
    assert not result.is_noise_alone
    assert result.set_shift == pytest.approx(-0.5)
    assert result.residual_rms == pytest.approx(0, abs=0.01)
    assert "other documents shift them by -0.5 logits" in describe_probe("c", result).finding


def test_noise_is_distinguished_from_an_effect_of_the_set() -> None:
    first, second = logits()
    rng = np.random.default_rng(0)
    noisy = [sigmoid(x + 0.6 * rng.standard_normal(140)) for x in (first, second, first)]

    result = evaluate_probe(*noisy, num_common=40)

    assert not result.comparable
    assert result.is_noise_alone
    assert "too noisy" in describe_probe("c", result).finding


def test_raw_logits_ties_and_saturation_are_recognised() -> None:
    first, second = logits()

    raw = evaluate_probe(first, second, first, num_common=40)
    coarse = evaluate_probe(
        *(sigmoid(3 * x).round(3) for x in (first, second, first)), num_common=40
    )

    assert (raw.scale, raw.comparable, raw.digits) == ("logits", True, None)
    assert (coarse.scale, coarse.digits) == ("probabilities", 3)
    assert coarse.tied > 0.5
    assert coarse.saturated > 0.3


def test_constant_scores_are_not_comparable() -> None:
    ones = np.ones(140)

    result = evaluate_probe(ones, ones, ones, num_common=40)

    assert not result.comparable
    assert (result.saturated, result.tied, result.repeat_sd) == (1, 1, 0)
    assert "every score is saturated at 0 or 1" in describe_probe("c", result).finding
