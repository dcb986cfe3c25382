"""The scale of a group: which one is chosen, and that it does not depend on the range of scores."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.merging_world import (
    LIMITS,
    Service,
    draw_documents,
    pack_documents,
    packing_of,
    sigmoid,
)

from pipeline.ranking.merging.first_round import FirstRound, collect_first_round
from pipeline.ranking.merging.scale import (
    NOISE,
    LinearScale,
    LogOddsScale,
    choose_scale,
    natural_range,
    precision,
)
from pipeline.ranking.merging.share_scale import SQRT_12, ShareScale

unhurried = settings(deadline=None, max_examples=30)
seeds = st.integers(0, 10_000)


def first_round(
    seed: int = 0,
    *,
    count: int = 900,
    mixture: str = "sparse",
    to_score: Callable[[np.ndarray], np.ndarray] = sigmoid,
    digits: int = 17,
) -> FirstRound:
    documents = draw_documents(np.random.default_rng(seed), count, mixture=mixture)
    service = Service(documents, seed, lambda rng, logit: to_score(logit), 0.05, digits, LIMITS)
    packing = pack_documents(documents)
    return collect_first_round(packing, [service(request) for request in packing.requests])


@pytest.mark.parametrize("mixture", ["sparse", "rich", "nothing relevant"])
@pytest.mark.parametrize(
    ("to_score", "kind", "low", "high"),
    [
        (sigmoid, LogOddsScale, 0, 1),
        (lambda logit: 2 * sigmoid(logit) - 1, LogOddsScale, -1, 1),
        (lambda logit: 100 * sigmoid(logit), LogOddsScale, 0, 100),
        (lambda logit: logit, LinearScale, None, None),
        (lambda logit: 1000 * logit + 5, LinearScale, None, None),
    ],
)
def test_probabilities_percentages_and_logits_are_recognised(mixture, to_score, kind, low, high):
    scale = choose_scale(first_round(mixture=mixture, to_score=to_score))

    assert isinstance(scale, kind)
    if low is not None:
        assert (scale.low, scale.high) == (low, high)


@pytest.mark.parametrize(("offset", "factor"), [(0.5, 0.1), (0.3, 0.01), (-7, 1000), (1e6, 0.1)])
def test_probabilities_in_any_other_range_are_recognised(offset, factor):
    first = first_round(to_score=lambda logit: offset + factor * sigmoid(logit))

    scale = choose_scale(first)

    assert isinstance(scale, LogOddsScale)
    assert scale.low == pytest.approx(offset, abs=1e-3 * factor)
    assert scale.high == pytest.approx(offset + factor, rel=0.02, abs=0.02 * factor)


def test_scores_that_are_even_in_no_range_are_put_on_the_share_scale():
    first = first_round(to_score=lambda logit: np.sign(logit + 7) * np.abs(logit + 7) ** 9)

    assert isinstance(choose_scale(first), ShareScale)


@unhurried
@given(seeds, st.sampled_from(["sparse", "rich"]), st.floats(0, 4), st.floats(200, 1000))
def test_values_are_the_same_for_any_affine_map_of_logits(seed, mixture, power, offset):
    def mapped(logit: np.ndarray) -> np.ndarray:
        return 10**power * (offset + logit)

    one = first_round(seed, mixture=mixture, to_score=lambda logit: 1000.0 + logit)
    other = first_round(seed, mixture=mixture, to_score=mapped)

    values = [LinearScale.value(choose_scale(first), first.score) for first in (one, other)]
    assert values[0] == pytest.approx(values[1], abs=1e-6)


@unhurried
@given(seeds, st.sampled_from([np.exp, np.cbrt, lambda logit: logit**3 + 7 * logit]))
def test_the_share_scale_is_the_same_for_any_increasing_map_at_its_knots(seed, increasing):
    plain = first_round(seed, to_score=lambda logit: logit)
    mapped = first_round(seed, to_score=increasing)

    one, other = ShareScale.of(plain, 0.0), ShareScale.of(mapped, 0.0)

    assert one.values.tolist() == other.values.tolist()
    assert one.value(plain.score) == pytest.approx(other.value(mapped.score), abs=0.6)


@pytest.mark.parametrize("mixture", ["sparse", "rich", "nothing relevant"])
@pytest.mark.parametrize("to_score", [sigmoid, lambda logit: logit, lambda logit: logit + 1000])
def test_the_unit_is_the_spread_and_the_median_is_0(mixture, to_score):
    first = first_round(mixture=mixture, to_score=to_score)

    values = choose_scale(first).value(first.score)

    assert np.median(values) == pytest.approx(0)
    assert np.quantile(values, 0.75) - np.quantile(values, 0.25) == pytest.approx(1.349)


@pytest.mark.parametrize(
    "scale",
    [
        LinearScale(0.0, -7, 2),
        LogOddsScale(0.0, 0, 1, -6, 2),
        LogOddsScale(0.0, 0.5, 0.6, -6, 2),
        ShareScale(0.0, np.array([0.0, 0.1, 0.7, 1]), np.array([-3.0, 0, 1, 3]), np.zeros(3)),
    ],
    ids=lambda scale: type(scale).__name__,
)
def test_values_convert_back_into_scores(scale):
    scores = np.linspace(0.51, 0.59, 9)

    assert scale.score(scale.value(scores)) == pytest.approx(scores)


def test_values_are_finite_at_the_ends_of_the_range():
    scale = LogOddsScale(0.001, 0, 1, 0, 1)

    values = scale.value(np.array([0, 0.001, 0.5, 0.999, 1]))

    assert np.isfinite(values).all()
    assert scale.score(values) == pytest.approx([0.0005, 0.001, 0.5, 0.999, 0.9995])


def test_saturated_and_missing_scores_have_no_weight_and_coarse_ones_little():
    weight = precision(
        LogOddsScale(0.001, 0, 1, 0, 2), np.array([0, 0.001, 0.002, 0.5, 0.998, 0.999, 1, np.nan])
    )

    assert weight.tolist() == [0, 0, weight[2], weight[3], weight[4], 0, 0, 0]
    assert 0 < weight[2] < weight[3] == pytest.approx(NOISE**-2, rel=1e-3)
    assert weight[4] == pytest.approx(weight[2])


@pytest.mark.parametrize(
    ("deviation", "is_known"), [(0.0, True), (0.1, True), (0.5, True), (0.51, False)]
)
def test_the_weight_is_the_precision_of_noise_and_rounding_up_to_a_deviation_of_a_half(
    deviation: float, is_known: bool
) -> None:
    scale = LinearScale(2 * SQRT_12 * deviation, 0.0, 2.0)

    (weight,) = precision(scale, np.array([7.0]))

    assert weight == (pytest.approx(1 / (NOISE**2 + deviation**2)) if is_known else 0)


def test_scores_in_a_large_block_of_equal_ones_have_no_weight_on_the_share_scale():
    first = first_round(digits=2)
    scale = ShareScale.of(first, 0.01)

    weight = precision(scale, np.array([0.0, 0.4]))

    assert weight[0] == 0
    assert weight[1] > 0.9 * NOISE**-2


def test_a_large_block_of_equal_scores_has_no_weight_though_the_others_are_not_rounded():
    first = first_round(to_score=lambda logit: np.maximum(logit, -6))
    scale = ShareScale.of(first, 0.0)

    weight = precision(scale, np.array([-6.0, 0.0]))

    assert weight[0] == 0
    assert weight[1] > 0.9 * NOISE**-2


def test_equal_scores_have_a_scale():
    first = first_round(to_score=lambda logit: np.full(len(logit), 0.25))

    scale = choose_scale(first)

    assert np.isfinite(scale.value(first.score)).all()


@pytest.mark.parametrize(
    ("factor", "offset", "expected"),
    [
        (1, 0, (0, 1)),
        (2, -1, (-1, 1)),
        (100, 0, (0, 100)),
        (100, 1, (0, np.inf)),
        (100, -50, (-np.inf, np.inf)),
    ],
)
def test_the_natural_range_is_the_narrowest_that_holds_all_scores(factor, offset, expected):
    first = first_round(to_score=lambda logit: offset + factor * sigmoid(2 * (logit + 5)))

    assert natural_range(first) == expected


def of_scores(scores: np.ndarray) -> FirstRound:
    """Return the first round of a group whose only answer has these scores."""
    return collect_first_round(packing_of([*range(len(scores))], anchors=[]), [scores])


@pytest.mark.parametrize(
    ("lowest", "expected"), [(0.0, (0, np.inf)), (0.5, (0, np.inf)), (-0.1, (-np.inf, np.inf))]
)
def test_scores_of_0_and_more_have_no_upper_end(lowest: float, expected: object) -> None:
    assert natural_range(of_scores(np.array([lowest, 7.0, 150.0]))) == expected


@pytest.mark.parametrize(
    ("quantiles", "is_even"),
    [
        ((-8, -1, 0, 1, 8), True),
        ((-8, -1, 0, 1, 8.1), False),
        ((-8.1, -1, 0, 1, 8), False),
        ((-4, -4, 0, 1, 4), True),
        ((-4, -1, 0, 4, 4), True),
        ((-4.1, -4.1, 0, 1, 4), False),
        ((-4, -1, 0, 4.1, 4.1), False),
    ],
)
def test_scores_are_even_if_neither_a_tail_nor_a_side_is_much_longer(
    quantiles: tuple[float, ...], is_even: bool
) -> None:
    """A tail of 48 % is at most 8 times its nearer 25 %, a quarter at most 4 times the other."""
    scores = 1000 + np.interp(np.arange(101), [2, 25, 50, 75, 98], quantiles)

    assert isinstance(choose_scale(of_scores(scores)), LinearScale) is is_even


def test_a_linear_scale_knows_what_scores_are_rounded_to() -> None:
    scale = choose_scale(of_scores(1000 + np.arange(101) / 100))

    assert isinstance(scale, LinearScale)
    assert scale.resolution == 0.01


def test_three_different_scores_may_be_even_in_the_range_that_they_span() -> None:
    scale = choose_scale(of_scores(np.repeat([1000.0, 1001.0, 1010.0], 20)))

    assert isinstance(scale, LogOddsScale)
    assert (scale.low, scale.high) == (1000 - 1, 1010 + 9 / 2)


def test_the_share_scale_of_few_scores_is_that_of_theory() -> None:
    """Values are log-odds of shares in their deviation; a block of equal scores is one step."""
    scale = ShareScale.of(of_scores(np.array([1.0, 1.0, 2.0, 4.0])), 0.0)

    below = np.array([0.25 / 4, 0.5, 0.75, 1 - 0.25 / 4])
    values = np.log(below / (1 - below)) * np.sqrt(3) / np.pi
    steps = np.diff(values) / SQRT_12
    assert scale.scores.tolist() == [0.5, 1.5, 3, 5]
    assert scale.values == pytest.approx(values)
    assert scale.rounding(np.array([1.0, 2, 4])) == pytest.approx(steps)
    assert scale.rounding(np.array([-9.0, 9])) == pytest.approx(steps[[0, -1]])


def test_the_share_scale_of_one_score_extends_by_1_to_either_side() -> None:
    scale = ShareScale.of(of_scores(np.full(5, 0.25)), 0.0)

    assert scale.scores.tolist() == [-0.75, 1.25]
    assert scale.values.sum() == pytest.approx(0)


@unhurried
@given(st.lists(st.sampled_from([1, 1, 1, 2, 5, 40, 90]), min_size=2, max_size=60))
def test_knots_are_half_a_spread_apart_and_at_both_ends_of_larger_blocks(blocks: list[int]) -> None:
    """Each knot is the first value so far from the last one, or the last value before a block."""
    scores = np.repeat(np.arange(len(blocks), dtype=np.float64), blocks)
    total, below = sum(blocks), np.append(0, np.cumsum(blocks))
    shares = np.clip(below / total, 0.25 / total, 1 - 0.25 / total)
    values = np.log(shares / (1 - shares)) * np.sqrt(3) / np.pi

    scale = ShareScale.of(of_scores(scores), 0.0)

    knots = np.rint(scale.scores + 0.5).astype(int).tolist()
    assert scale.values == pytest.approx(values[knots])
    assert (knots[0], knots[-1]) == (0, len(blocks))
    for knot, following in pairwise(knots):
        assert knot < following
        assert (values[knot + 1 : following] < values[knot] + 0.5).all()
        far = values[following] >= values[knot] + 0.5
        assert far or following == len(blocks) or values[following + 1] > values[following] + 0.5
    wide = np.flatnonzero(np.diff(values)[:-1] > 0.5)
    assert {*wide.tolist(), *(wide + 1).tolist()} <= {*knots}
