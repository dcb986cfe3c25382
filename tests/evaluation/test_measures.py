"""Names of measures: what cannot be computed is refused before trec_eval sees it."""

import pytest

from pipeline.core.errors import SettingsError
from pipeline.evaluation.measures import parse_measure, parse_measures


def refusal(name: str) -> str:
    with pytest.raises(SettingsError) as caught:
        parse_measure(name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nDCG@10", "nDCG@10"),
        ("NDCG@10", "nDCG@10"),
        (" MRR @ 5", "RR@5"),
        ("Recall@100", "R@100"),
        ("MAP", "AP"),
        ("AP(rel=2)@20", "AP(rel=2)@20"),
        ("nDCG(cutoff=3)", "nDCG@3"),
        ("nDCG(gains={1: 3, 0: 0})@10", "nDCG(gains={0:0,1:3})@10"),
        ("IPrec@0.25", "IPrec@0.25"),
        ("Compat(p=0.8)", "Compat(p=0.8)"),
        ("SetF(beta=2.0)", "SetF(beta=2.0)"),
        ("Judged@10", "Judged@10"),
    ],
)
def test_a_measure_has_the_name_that_ir_measures_gives_it(name: str, expected: str) -> None:
    found = str(parse_measure(name))

    assert found.replace(" ", "") == expected.replace("0:0,", "")


def test_names_of_one_measure_count_once_and_keep_their_order() -> None:
    assert list(map(str, parse_measures(["RR@10", "nDCG@10", "MRR@10", "NDCG@10"]))) == [
        "RR@10",
        "nDCG@10",
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ndcg@10", "expected nDCG@10)"),
        ("mrr@10", "expected MRR@10)"),
        ("recall@5", "expected Recall@5)"),
        ("map", "expected MAP)"),
        ("nDGC@10", "nDCG@10"),
        ("Precison@5", "Precision@5"),
        ("hits@10", "expected a name like nDCG@10"),
    ],
)
def test_an_unknown_measure_is_told_with_the_nearest_names(name: str, expected: str) -> None:
    message = refusal(name)

    assert message.startswith(f"--measure: unknown measure (found {name!r}")
    assert expected in message


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "@10", "nDCG@", "nDCG@@", "nDCG@10;P@5", "nDCG(1)@10", "AP(rel=x)", "10"),
        *("(" * 500, "'nDCG'@10", "nDCG@10\0", "f()()@10", "nDCG@10" + " " * 300 + "x"),
    ],
)
def test_what_is_no_name_is_told(name: str) -> None:
    assert "not a measure" in refusal(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nDCG@0", "impossible cutoff (found 0, expected 1 to 1,000,000)"),
        ("P@-1", "impossible cutoff (found -1"),
        ("nDCG@1.5", "impossible cutoff"),
        ("nDCG@True", "impossible cutoff"),
        ("R@10000000000000000000000", "impossible cutoff"),
        ("RR(rel=0)", "impossible rel (found 0, expected 1 to 100,000)"),
        ("AP(rel=-1)", "impossible rel"),
        ("IPrec@2.0", "impossible recall"),
        ("IPrec@0.123", "impossible recall (found 0.123, expected 0.0 to 1.0 in steps of 0.01)"),
        ("Compat(p=1.0)", "impossible p"),
        ("SetF(beta=1e-9)", "impossible beta"),
        ("nDCG(gains={1: 0.5})@10", "impossible gains"),
        ("nDCG(gains=5)@10", "impossible gains"),
        ("nDCG(judged_only=1)@10", "impossible judged_only (found 1, expected a bool)"),
        ("nDCG(dcg='ln')@10", "impossible dcg (found 'ln', expected 'log2' or 'exp-log2')"),
        ("nDCG(foo=1)@10", "unknown parameter (found 'foo', expected one of cutoff"),
        ("nDCG(**{'cutoff': 3})", "unknown parameter"),
        ("nDCG(cutoff=5)@10", "cutoff is given twice"),
        ("P", "cutoff is missing (expected P@10)"),
    ],
)
def test_an_impossible_parameter_is_told_with_what_it_may_be(name: str, said: str) -> None:
    assert said in refusal(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ERR@10", "needs another program: perl; try nDCG@20"),
        ("RBP(rel=1)", "needs another program: cwl-eval; try Compat"),
        ("alpha_nDCG@10", "needs another program: pyndeval"),
        ("nDCG(dcg='exp-log2')@10", "try nDCG(gains={1: 1, 2: 3, 3: 7})@10"),
        ("Accuracy", "is not supported"),
        ("RR(judged_only=True)@10", "is not supported"),
    ],
)
def test_a_measure_of_another_program_is_told_with_another_measure(name: str, said: str) -> None:
    assert said in refusal(name)
