"""The learned rate, step by step: how far each refusal cuts it, and how fast it grows again."""

import math

import pytest

from pipeline.service.throttle.adaptive_rate import AdaptiveRate


def granted(rate: AdaptiveRate, per_s: int, since: float = 0.0, *, amount: float = 1.0) -> None:
    """Grant so many within a second, evenly; none waited for the rate."""
    for tick in range(per_s):
        now = since + 0.99 * tick / max(per_s - 1, 1)
        rate.record_success(now, amount, rate.version, binding=False)


def grow(rate: AdaptiveRate, *moments: float) -> list[float]:
    """Return the rate after an answer at each of these moments, for which the rate was waited."""
    rates = []
    for now in moments:
        rate.record_success(now, 1, rate.version, binding=True)
        assert rate.current is not None
        rates.append(rate.current)
    return rates


def cut(rate: AdaptiveRate, now: float, amount: float = 1.0, *, pause_s: float = 0.25) -> float:
    """Refuse what is admitted now; return the new rate."""
    assert rate.record_refusal(now, amount, rate.version, pause_s=pause_s)
    assert rate.current is not None
    return rate.current


# --- What was granted ---------------------------------------------------------------------------


def test_what_was_granted_counts_for_a_second() -> None:
    rate = AdaptiveRate(None)
    for now, amount in ((0.0, 3), (0.5, 4), (1.0, 5)):
        rate.record_success(now, amount, 0, binding=False)

    seen = [rate.granted_per_s(now) for now in (1.0, 1.001, 1.5, 1.501, 2.0, 2.001)]

    assert seen == [12, 9, 9, 5, 5, 0]


@pytest.mark.parametrize(("apart_s", "left"), [(0.0049, 0), (0.0051, 4)])
def test_answers_of_nearly_one_moment_expire_together(apart_s: float, left: float) -> None:
    rate = AdaptiveRate(None)
    for now, amount in ((10.0, 3), (10.0 + apart_s / 2, 2), (10.0 + apart_s, 4)):
        rate.record_success(now, amount, 0, binding=False)

    assert rate.granted_per_s(11.0) == 9
    assert rate.granted_per_s(11.003) == left


def test_answers_of_one_moment_are_no_evidence_once_they_have_expired() -> None:
    rate = AdaptiveRate(100.0)
    for _ in range(6):
        rate.record_success(0.0, 1, 0, binding=False)
    granted(rate, 4, 10.0)

    assert cut(rate, 11.0) == pytest.approx(85)  # so few say little


def test_an_unknown_rate_stays_unknown_though_requests_wait() -> None:
    rate = AdaptiveRate(None)

    rate.record_success(1.0, 1, 0, binding=True)

    assert rate.current is None


# --- How far a refusal cuts ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("per_s", "expected"),
    [
        (4, 85.0),  # so few say little
        (5, 48.0),  # far less than was asked for: at most about a half at once
        (48, 48.0),
        (60, 0.98 * 60),  # just below what is granted
        (95, 85.0),  # nearly all was granted: a cut all the same
    ],
)
def test_the_first_refusal_cuts_to_what_was_granted_within_bounds(
    per_s: int, expected: float
) -> None:
    rate = AdaptiveRate(100.0)
    assert not rate.is_measuring
    granted(rate, per_s)

    assert cut(rate, 1.0) == pytest.approx(expected)
    assert rate.is_measuring == (per_s < 5)


@pytest.mark.parametrize(("after_s", "factor"), [(10.0, 0.48), (10.1, 0.85)])
def test_refusals_that_follow_each_other_closely_say_something_though_few_were_granted(
    after_s: float, factor: float
) -> None:
    rate = AdaptiveRate(100.0)
    first = cut(rate, 0.0)
    rate.record_success(0.5, 1, rate.version, binding=False)

    assert cut(rate, after_s) == pytest.approx(first * factor)


@pytest.mark.parametrize(("per_s", "expected"), [(3, 0.8 * 4 * 2), (50, 0.8 * 100)])
def test_an_unknown_rate_becomes_what_was_granted_or_a_few_requests_a_second(
    per_s: int, expected: float
) -> None:
    rate = AdaptiveRate(None)
    granted(rate, per_s, amount=2)

    assert cut(rate, 1.0, 2) == pytest.approx(expected)


def test_an_unknown_rate_has_no_ceiling_and_grows_by_half_a_second() -> None:
    rate = AdaptiveRate(None)
    granted(rate, 100)
    cut(rate, 1.0)

    assert grow(rate, 2.0, 3.0, 3.5) == pytest.approx([120, 180, 225])


def test_what_was_granted_before_the_last_second_is_no_evidence() -> None:
    rate = AdaptiveRate(100.0)
    granted(rate, 90)

    assert cut(rate, 1.9) == pytest.approx(48)  # of 9 answers


def test_of_refusals_at_one_rate_only_the_first_says_something() -> None:
    rate = AdaptiveRate(100.0)
    for second in range(4):
        version = rate.version
        granted(rate, 90, 100.0 * second)
        assert rate.record_refusal(100.0 * second + 1, 1, version, pause_s=0.25)
        cut_to = rate.current
        assert not rate.record_refusal(100.0 * second + 1.1, 1, version, pause_s=0.25)
        assert rate.current == cut_to


def test_a_rate_without_a_success_is_not_cut_again() -> None:
    rate = AdaptiveRate(100.0)
    granted(rate, 90)
    before = cut(rate, 1.0)

    assert cut(rate, 1.3) == before


# --- The way back -------------------------------------------------------------------------------


def test_the_rate_grows_quickly_to_just_below_the_ceiling_then_holds_then_probes_ever_faster() -> (
    None
):
    rate = AdaptiveRate(100.0)
    granted(rate, 60)
    assert cut(rate, 1.0) == pytest.approx(58.8)  # which is the ceiling's 0.98 already

    held = grow(rate, 2.0, 6.0, 11.2)  # until 0.25 s + 10 s after the refusal
    probed = grow(rate, 11.25, 11.75, 12.25, 13.25, 14.25)

    assert held == pytest.approx([58.8] * 3)
    steps = [after / before for before, after in zip([58.8, *probed], probed, strict=False)]
    assert steps == pytest.approx(
        [
            1 + 0.005 * 0.05,
            1 + 0.005 * 2**0.5 * 0.5,
            1 + 0.005 * 2 * 0.5,
            1 + 0.005 * 4,
            1 + 0.005 * 8,
        ]
    )


def test_a_probe_grows_by_a_tenth_a_second_at_most_and_never_over_what_is_configured() -> None:
    rate = AdaptiveRate(1_000.0)
    granted(rate, 500)
    cut(rate, 1.0)
    grow(rate, 20.0)
    before = rate.current

    after = grow(rate, 20.5, 21.5, *range(22, 40))

    assert before is not None
    assert after[0] == pytest.approx(before * 1.05)
    assert after[1] == pytest.approx(before * 1.05 * 1.1)
    assert after[-1] == 1_000


def test_after_few_grants_the_rate_grows_by_half_a_second_to_just_below_the_refused_one() -> None:
    rate = AdaptiveRate(4.0)
    granted(rate, 3)
    assert cut(rate, 1.0) == pytest.approx(3.4)

    assert grow(rate, 1.1, 1.2, 2.2, 3.2) == pytest.approx([3.4 * 1.05, 3.4 * 1.05**2, 3.92, 3.92])


def test_no_step_is_larger_than_that_of_a_second() -> None:
    rate = AdaptiveRate(None)
    granted(rate, 100)
    cut(rate, 1.0)

    assert grow(rate, 60.0) == pytest.approx([80 * 1.5])


def test_time_in_which_the_rate_was_not_waited_for_counts_for_nothing() -> None:
    rate = AdaptiveRate(None)
    granted(rate, 100)
    cut(rate, 1.0)
    rate.record_success(1.9, 1, rate.version, binding=False)

    assert grow(rate, 2.0) == pytest.approx([80 * 1.05])


def test_an_answer_from_before_the_refusal_grows_nothing() -> None:
    rate = AdaptiveRate(100.0)
    granted(rate, 4)
    old = rate.version
    before = cut(rate, 1.0)

    rate.record_success(2.0, 1, old, binding=True)

    assert rate.current == before
    assert rate.granted_per_s(2.0) == 1  # but it was granted


# --- A refused probe ----------------------------------------------------------------------------


def probing(*, pause_s: float = 0.25) -> AdaptiveRate:
    """Return a rate that probes, 100 s after a refusal."""
    rate = AdaptiveRate(1_000.0)
    granted(rate, 300)
    cut(rate, 1.0, pause_s=pause_s)
    grow(rate, 100.0)
    granted(rate, 290, 100.0)
    return rate


def test_a_refused_probe_cuts_little_and_so_do_the_next_two() -> None:
    rate = probing()
    before = rate.current
    assert before is not None

    factors = []
    for second in range(101, 105):
        granted(rate, 10, second - 0.995)
        factors.append(cut(rate, second) / before)
        before = rate.current
        assert before is not None

    assert factors == pytest.approx([0.95, 0.95, 0.95, 0.48])


def test_each_refused_probe_doubles_the_time_to_the_next_up_to_five_minutes() -> None:
    rate, now, holds = probing(), 101.0, []
    for _ in range(7):
        cut(rate, now)
        (near,) = grow(rate, now + 1.0)
        moment = now + 1.0
        while grow(rate, moment) == [near]:
            moment += 0.125
        holds.append(moment - now - 0.25)
        now = moment

    assert holds == pytest.approx([20, 40, 80, 160, 300, 300, 300], abs=0.5)


def test_a_refusal_just_below_the_ceiling_is_that_of_a_probe_once_it_is_time_for_one() -> None:
    rate = AdaptiveRate(100.0)
    granted(rate, 60)
    before = cut(rate, 1.0)
    granted(rate, 60, 20.0)

    assert cut(rate, 21.0) == pytest.approx(0.95 * before)


def test_a_refusal_well_below_the_ceiling_is_none_of_a_probe() -> None:
    rate = AdaptiveRate(100.0)
    granted(rate, 95)
    assert cut(rate, 1.0) == pytest.approx(85)
    granted(rate, 60, 20.0)

    assert cut(rate, 21.0) == pytest.approx(0.98 * 60)


def test_a_refusal_while_the_rate_holds_is_no_probe() -> None:
    rate = AdaptiveRate(1_000.0)
    granted(rate, 300)
    cut(rate, 1.0)
    granted(rate, 300, 1.5)

    assert cut(rate, 2.5) == pytest.approx(0.98 * 300)


@pytest.mark.parametrize(("pause_s", "hold_s"), [(0.1, 10.0), (0.5, 20.0), (60.0, 300.0)])
def test_a_probe_comes_forty_pauses_after_a_refusal_within_bounds(
    pause_s: float, hold_s: float
) -> None:
    rate = AdaptiveRate(1_000.0)
    granted(rate, 300)
    before = cut(rate, 1.0, pause_s=pause_s)
    begins = 1.0 + pause_s + hold_s

    assert grow(rate, begins - 0.01) == pytest.approx([before])
    assert grow(rate, begins + 0.01)[0] > before


# --- A rate that is far too high ----------------------------------------------------------------


def test_after_two_pauses_without_a_success_the_rate_is_what_was_granted_in_the_meantime() -> None:
    rate = AdaptiveRate(1_000.0)
    granted(rate, 10)
    cut(rate, 1.0)
    assert not rate.is_measuring
    cut(rate, 2.0)
    assert not rate.is_measuring
    assert cut(rate, 3.0) == pytest.approx(480)
    assert rate.is_measuring

    rate.record_success(4.0, 1, rate.version, binding=True)

    assert not rate.is_measuring
    assert rate.current == pytest.approx(11 / 4)  # ten in the second before, one since


def test_pauses_in_vain_are_counted_anew_after_a_success() -> None:
    rate = AdaptiveRate(1_000.0)
    granted(rate, 10)
    for second in (1.0, 2.0):
        cut(rate, second)
    granted(rate, 10, 3.0)
    for second in (4.0, 5.0):
        cut(rate, second)
        assert not rate.is_measuring

    cut(rate, 6.0)

    assert rate.is_measuring


def test_a_rate_of_which_few_were_granted_is_measured_at_once() -> None:
    rate = AdaptiveRate(1_000.0)
    granted(rate, 4)
    cut(rate, 1.0)
    assert rate.is_measuring

    rate.record_success(3.5, 1, rate.version, binding=False)

    assert rate.current == pytest.approx(5 / 3.5)


def test_a_measured_rate_counts_only_if_it_is_less_than_half_of_the_one_in_use() -> None:
    for count, expected in ((4, 5 / 1.5), (3, 4 / 1.5), (1, 2 / 1.5)):
        rate = AdaptiveRate(6.0)
        granted(rate, count)
        before = cut(rate, 1.0)
        rate.record_success(1.5, 1, rate.version, binding=False)
        assert rate.current == pytest.approx(expected if expected < before / 2 else before)


def test_a_service_that_granted_nothing_but_the_first_success_is_not_measured() -> None:
    rate = AdaptiveRate(1_000.0)
    before = cut(rate, 1.0)
    assert rate.is_measuring

    rate.record_success(60.0, 5, rate.version, binding=False)

    assert (rate.is_measuring, rate.current) == (False, before)


def test_a_measured_rate_is_held_for_two_seconds_then_probed() -> None:
    rate = AdaptiveRate(1_000.0)
    granted(rate, 4)
    cut(rate, 1.0)
    (measured,) = grow(rate, 3.5)

    assert measured == pytest.approx(5 / 3.5)
    assert grow(rate, 5.4)[0] == pytest.approx(measured)
    assert grow(rate, 5.6)[0] > measured


def test_a_measured_rate_is_what_a_climb_leads_back_to() -> None:
    rate = AdaptiveRate(100_000.0)
    granted(rate, 4, amount=100)
    cut(rate, 1.0)
    (measured,) = grow(rate, 3.5)

    rate.record_refusal(4.0, 1, rate.version, pause_s=0.25, for_growth=True)
    climb = grow(rate, *range(5, 20))

    assert measured == pytest.approx(401 / 3.5)
    assert climb[:2] == pytest.approx([math.exp(0.5), math.exp(1.0)])
    assert any(passed == pytest.approx(measured) for passed in climb)


def test_what_was_served_longer_ago_than_a_second_before_the_refusal_is_not_measured() -> None:
    rate = AdaptiveRate(1_000.0)
    granted(rate, 50)
    granted(rate, 4, 10.0)
    cut(rate, 11.0)

    rate.record_success(14.0, 1, rate.version, binding=False)

    assert rate.current == pytest.approx(5 / 4)


# --- A limit on growth --------------------------------------------------------------------------


def test_a_refusal_for_growth_goes_on_at_four_fifths_of_what_was_granted_and_climbs() -> None:
    rate = AdaptiveRate(100.0)
    granted(rate, 50)
    assert rate.record_refusal(1.0, 1, 0, pause_s=0.25, for_growth=True)
    assert not rate.is_measuring

    assert rate.current == pytest.approx(40)
    assert grow(rate, 1.5, 2.5)[1] == pytest.approx(40 * math.exp(0.5 * 1.5))


def test_a_refusal_for_growth_of_which_nothing_was_granted_leaves_one_a_second() -> None:
    rate = AdaptiveRate(100.0)

    rate.record_refusal(1.0, 3, 0, pause_s=0.25, for_growth=True)

    assert rate.current == 3


def test_a_refusal_for_growth_never_raises_the_rate() -> None:
    rate = AdaptiveRate(2.0)

    rate.record_refusal(1.0, 3, 0, pause_s=0.25, for_growth=True)

    assert rate.current == 2


def test_the_climb_is_slower_after_each_refusal_for_growth_down_to_half_of_the_first() -> None:
    rate, climbs = AdaptiveRate(1e9), []
    for second in range(0, 40, 10):
        granted(rate, 50, float(second))
        rate.record_refusal(second + 1.0, 1, rate.version, pause_s=0.25, for_growth=True)
        before = rate.current
        assert before is not None
        climbs.append(math.log(grow(rate, second + 2.0)[0] / before))

    assert climbs == pytest.approx([0.5, 0.35, 0.25, 0.25])


def test_an_unknown_rate_that_is_refused_for_growth_becomes_what_was_granted() -> None:
    rate = AdaptiveRate(None)
    granted(rate, 50)

    rate.record_refusal(1.0, 1, 0, pause_s=0.25, for_growth=True)

    assert rate.current == pytest.approx(40)
