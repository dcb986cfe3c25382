"""How many tokens the service will count of a kind of text: what one answer and many teach."""

import pytest

from pipeline.service.throttle.token_estimates import TokenEstimates

ENGLISH, DIGITS, CHINESE = b"english", b"digits", b"chinese"


def test_without_an_answer_a_request_counts_as_its_bound() -> None:
    assert TokenEstimates().estimate(ENGLISH, 200) == 200


def test_an_estimate_is_the_mean_of_the_answers_and_a_doubt_that_shrinks() -> None:
    estimates, seen = TokenEstimates(), []
    for counted in (20, 40, 30, 10):
        estimates.record(ENGLISH, 100, counted)
        seen.append(estimates.estimate(ENGLISH, 1_000))

    expected = [200 * 1.1, 300 * 1.05, 300 * (1 + 0.1 / 3), 250 * 1.025]
    assert seen == pytest.approx(expected)


def test_after_many_answers_each_counts_for_a_fiftieth() -> None:
    estimates = TokenEstimates()
    for _ in range(100):
        estimates.record(ENGLISH, 100, 20)

    estimates.record(ENGLISH, 100, 70)

    assert estimates.estimate(ENGLISH, 100) == pytest.approx(21 * (1 + 0.1 / 101))


def test_kinds_are_learned_each_by_itself() -> None:
    estimates = TokenEstimates()
    estimates.record(ENGLISH, 100, 20)
    estimates.record(DIGITS, 100, 90)

    assert estimates.estimate(ENGLISH, 100) == pytest.approx(22)
    assert estimates.estimate(DIGITS, 100) == pytest.approx(99)


@pytest.mark.parametrize(("counted", "ratio"), [(50, 1.0), (150, 1.5), (900, 2.0)])
def test_an_unknown_kind_counts_as_the_worst_known_one_but_twice_its_bound_at_most(
    counted: int, ratio: float
) -> None:
    estimates = TokenEstimates()
    estimates.record(DIGITS, 100, counted)
    estimates.record(ENGLISH, 100, 20)

    assert estimates.estimate(CHINESE, 100) == pytest.approx(100 * ratio)


def test_a_request_without_tokens_teaches_nothing() -> None:
    estimates = TokenEstimates()

    estimates.record(ENGLISH, 0, 50)

    assert estimates.estimate(ENGLISH, 100) == 100


def test_of_more_than_4096_kinds_the_oldest_is_forgotten() -> None:
    estimates = TokenEstimates()
    for number in range(4_096):
        estimates.record(b"%d" % number, 100, 20)
    assert estimates.estimate(b"0", 100) == pytest.approx(22)

    estimates.record(b"one more", 100, 20)

    known = [estimates.estimate(kind, 100) for kind in (b"0", b"1", b"4095", b"one more")]
    assert known == pytest.approx([100, 22, 22, 22])
