"""Only as many documents are counted as decide the number of requests."""

import numpy as np
from hypothesis import given
from support.group_cases import cases, unhurried
from support.group_world import make_group, make_planner, tokens

from pipeline.planning.packing import pack

ENGLISH = "the candidates of a first stage are scored again by a slower and better model "


@unhurried
@given(cases())
def test_there_are_no_more_requests_than_with_all_documents_counted(case):
    plan = case.plan()
    if not len(plan.units):
        return
    packing = plan.packing
    counts = np.array(
        [tokens(text) for text in plan.units.texts(np.arange(len(plan.units)))], dtype=np.int64
    )

    exact = pack(np.minimum(counts, plan.units.tokens), packing.sizes, packing.limits, anchors=True)

    assert len(packing.homes) <= len(exact.homes)


def test_of_a_large_group_some_bounds_are_left() -> None:
    texts = [f"{number} {ENGLISH * 5}" for number in range(1_200)]

    plan = make_planner().plan(make_group(texts))

    assert len(plan.packing.homes) == 3
    assert 0 < plan.units.exact.sum() < 900
    for request in plan.requests():
        assert request.tokens <= 120_000


def test_of_a_group_that_tokens_decide_all_are_counted() -> None:
    texts = [f"{number} {ENGLISH * 40}" for number in range(600)]

    plan = make_planner().plan(make_group(texts))

    assert plan.units.exact.all()
