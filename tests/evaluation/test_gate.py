"""Gates: what passes, what does not, and what is no gate."""

import pytest

from pipeline.core.errors import GateFailed, SettingsError
from pipeline.evaluation.gate import Gate, below, missed, parse_least, raise_missed
from pipeline.evaluation.paired import PairedMeasure


def change(value: float, p_value: float | None = None, degraded: int = 0) -> PairedMeasure:
    return PairedMeasure(
        before=0.5,
        after=0.5 + value,
        change=value,
        p_value=p_value,
        improved=0,
        degraded=degraded,
    )


def test_a_change_that_reaches_its_least_passes() -> None:
    gate = Gate({"AP": 0.02})

    assert missed(gate, {"AP": change(0.02), "RR": change(-0.3)}) == []
    assert missed(gate, {"AP": change(0.7 - 0.68)}) == []  # a hair below 0.02


def test_a_change_below_its_least_is_missed() -> None:
    (miss,) = missed(Gate({"AP": 0.02}), {"AP": change(0.0199), "RR": change(0.5)})

    assert (miss.name, miss.found, miss.expected) == (
        "AP",
        "+0.0199",
        "a change of at least +0.02",
    )


def test_a_loss_may_be_allowed() -> None:
    assert missed(Gate({"AP": -0.1}), {"AP": change(-0.05)}) == []


@pytest.mark.parametrize(
    ("measure", "passes"),
    [
        (change(-0.1, 0.049, 3), False),
        (change(-0.1, 0.051, 3), True),
        (change(0.1, 0.001), True),
        (change(0.0, None), True),
        (change(-0.1, None, 300), False),  # every query fell by the same: no p-value, but a loss
        (change(-0.1, None, 1), True),  # one query is no evidence
    ],
)
def test_worse_is_a_significant_loss(measure: PairedMeasure, passes: bool) -> None:
    assert (missed(Gate({}, refuse_worse=True), {"AP": measure}) == []) is passes


def test_worse_is_not_asked_unless_it_is() -> None:
    assert missed(Gate({}), {"AP": change(-0.5, 0.0001, 9)}) == []


def test_an_unknown_figure_does_not_pass() -> None:
    (miss,) = below(Gate({"tau": 0.1}), {"tau": None, "RBO": 0.0})

    assert miss.found == "unknown"


def test_what_was_missed_is_one_line_with_all_names() -> None:
    gate = Gate({"AP": 0.1, "RR": 0.0}, refuse_worse=True)
    misses = missed(gate, {"AP": change(0.05), "RR": change(-0.2, 0.01, 9)})

    with pytest.raises(GateFailed) as caught:
        raise_missed(misses)

    assert caught.value.exit_code == 10
    assert str(caught.value) == (
        "AP, RR, RR: the gate failed (found +0.0500, -0.2000, -0.2000 with p = 0.01, expected "
        "a change of at least +0.1, a change of at least +0, no loss with p < 0.05)"
    )


def test_pairs_keep_equals_signs_of_the_measure() -> None:
    least = parse_least(["nDCG(gains={1: 2})@10=0.5", "AP(rel=2) = -0.1"], str)

    assert least == {"nDCG(gains={1: 2})@10": 0.5, "AP(rel=2)": -0.1}


@pytest.mark.parametrize("pair", ["", "AP", "=0.1", "AP=", "AP=x", "AP=nan", "AP=inf", "AP=0,02"])
def test_what_is_no_pair_is_refused(pair: str) -> None:
    with pytest.raises(SettingsError, match=r"--fail-under: cannot be used"):
        parse_least([pair], str)


def test_one_measure_has_one_least() -> None:
    with pytest.raises(SettingsError, match="given twice"):
        parse_least(["AP=1", "MAP=2"], lambda name: "AP")
