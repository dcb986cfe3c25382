"""The rate that all takers share, step by step; `ledger.lua` does the same."""

import pytest

from pipeline.service.throttle.leases.learned_rate import LearnedRate


def rate(per_s: float | None) -> LearnedRate:
    learned = LearnedRate()
    learned.configure(per_s)
    return learned


def serve(learned: LearnedRate, *moments: float, amount: float = 1.0) -> list[float | None]:
    """Return the rate after each of these successes."""
    rates = []
    for now in moments:
        learned.succeed(now, amount, learned.version)
        rates.append(learned.current)
    return rates


def refuse(learned: LearnedRate, now: float, pause_s: float = 0.25) -> float:
    assert learned.refuse(now, learned.version, pause_s)
    assert learned.current is not None
    return learned.current


def test_a_configured_rate_is_used_as_it_is() -> None:
    learned = rate(100.0)

    assert (learned.configured, learned.current) == (100, 100)
    assert serve(learned, 1, 2, 3) == [100] * 3


def test_another_configured_rate_forgets_what_was_learned_and_the_same_does_not() -> None:
    learned = rate(100.0)
    serve(learned, 0.5)
    refuse(learned, 1.0)
    refuse(learned, 2.0)
    cut, version = learned.current, learned.version

    learned.configure(100.0)
    assert (learned.current, learned.version) == (cut, version)
    learned.configure(60.0)

    assert (learned.configured, learned.current) == (60, 60)
    assert learned.version != version
    assert serve(learned, 3, 4) == [60, 60]  # no ceiling
    learned.configure(80.0)
    assert refuse(learned, 4.5) == 40
    learned.configure(60.0)
    learned.succeed(4.9, 50, version)
    assert refuse(learned, 5.0) == pytest.approx(0.98 * 50)  # as if nothing had been refused


@pytest.mark.parametrize(
    ("served", "expected"), [(0, 50.0), (10, 50.0), (70, 0.98 * 70), (95, 85.0)]
)
def test_a_refusal_cuts_to_what_was_served_in_the_last_second_within_bounds(
    served: int, expected: float
) -> None:
    learned = rate(100.0)
    serve(learned, -0.01, 0.0, amount=1_000)  # a second and more ago
    serve(learned, *[0.01 + 0.98 * n / 100 for n in range(served)])

    assert refuse(learned, 1.0) == pytest.approx(expected)


def test_what_is_served_keeps_a_second_alone_in_memory() -> None:
    learned = rate(100.0)

    serve(learned, *[n / 10 for n in range(100)])

    assert len(learned.served) == 10


@pytest.mark.parametrize(("served", "expected"), [(2, 4.0), (40, 0.85 * 40)])
def test_an_unknown_rate_becomes_a_little_less_than_what_was_served(
    served: int, expected: float
) -> None:
    learned = LearnedRate()
    serve(learned, *[0.5] * served)

    assert refuse(learned, 1.0) == pytest.approx(expected)
    assert learned.configured is None


def test_a_second_refusal_without_a_success_halves_the_rate() -> None:
    learned = rate(100.0)
    serve(learned, *[n / 100 for n in range(90)])
    first = refuse(learned, 1.0)

    assert refuse(learned, 1.1) == pytest.approx(0.5 * first)


def test_of_refusals_at_one_rate_only_the_first_says_something() -> None:
    learned = rate(100.0)
    for second in range(3):
        version = learned.version
        serve(learned, float(second))
        refuse(learned, float(second))
        cut = learned.current

        assert not learned.refuse(float(second), version, 0.25)
        assert learned.current == cut


def test_a_success_at_an_old_rate_is_no_proof_of_the_new_one() -> None:
    learned = rate(100.0)
    old = learned.version
    serve(learned, *[n / 100 for n in range(90)])
    before = refuse(learned, 1.0)

    learned.succeed(1.5, 1, old)

    assert learned.current == before
    assert refuse(learned, 1.9) == pytest.approx(0.5 * before)
    assert learned.served[-1] == (1.5, 1)  # but it was served


def test_the_rate_grows_quickly_to_just_below_the_refused_one_then_holds_then_probes() -> None:
    learned = rate(100.0)
    serve(learned, *[n / 100 for n in range(90)])
    assert refuse(learned, 1.0) == pytest.approx(85)

    quick = serve(learned, 1.1, 1.2, 2.5)
    held = serve(learned, 6.0, 11.2)
    probed = serve(learned, 11.25, 11.75, 12.25, 13.25)

    assert quick == pytest.approx([85 * 1.05, 85 * 1.05**2, 98])
    assert held == pytest.approx([98, 98])
    first = 98 * (1 + 0.005 * 0.05)
    second = first * (1 + 0.005 * 2**0.5 * 0.5)
    third = second * (1 + 0.005 * 2 * 0.5)
    assert probed == pytest.approx([first, second, third, 100])


def test_no_step_of_growth_is_larger_than_that_of_a_second() -> None:
    learned = rate(None)
    serve(learned, *[0.5] * 400)
    assert refuse(learned, 1.0) == 340
    learned.ceiling = 10_000.0

    assert serve(learned, 60.0) == pytest.approx([340 * 1.5])


def test_a_probe_grows_by_a_tenth_a_second_at_most() -> None:
    learned = rate(None)
    serve(learned, *[0.5] * 400)
    refuse(learned, 1.0)
    begun = serve(learned, 100.0)[0]
    assert begun is not None

    assert serve(learned, 100.5, 102.5) == pytest.approx([begun * 1.05, begun * 1.05 * 1.1])


def test_a_rate_that_is_the_configured_one_again_has_no_ceiling() -> None:
    learned = rate(100.0)
    serve(learned, *[n / 100 for n in range(90)])
    refuse(learned, 1.0)

    serve(learned, *range(2, 60))

    assert (learned.current, learned.ceiling) == (100, None)


@pytest.mark.parametrize(("pause_s", "hold_s"), [(0.1, 10.0), (0.5, 20.0), (60.0, 300.0)])
def test_a_probe_comes_forty_pauses_after_a_refusal_within_bounds(
    pause_s: float, hold_s: float
) -> None:
    learned = rate(100.0)
    serve(learned, *[n / 100 for n in range(90)])
    refuse(learned, 1.0, pause_s)
    serve(learned, 1.9, 2.9)
    begins = 1.0 + pause_s + hold_s

    assert serve(learned, begins - 0.01, begins + 0.01)[0] == pytest.approx(98)
    assert learned.current is not None
    assert learned.current > 98


def test_the_ceiling_is_the_rate_that_was_refused_last() -> None:
    learned = rate(100.0)
    serve(learned, *[n / 100 for n in range(70)])
    first = refuse(learned, 1.0)
    serve(learned, *[1.0 + n / 100 for n in range(60)])
    second = learned.current
    assert second is not None

    assert refuse(learned, 2.0) < first
    assert learned.ceiling == second
