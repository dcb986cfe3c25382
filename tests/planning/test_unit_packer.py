"""Only as many documents are counted as decide the number of requests."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from msgspec.structs import replace
from support.group_cases import cases, unhurried
from support.group_world import make_group, make_planner, tokens

from pipeline.planning.packing import pack
from pipeline.planning.request_limits import RequestLimits
from pipeline.planning.unit_packer import UnitPacker
from pipeline.planning.units import Units
from pipeline.tokens.counter import TokenCounter
from pipeline.tokens.policies import QWEN, XLM_R

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


LIMITS = RequestLimits(max_documents=10, max_tokens=1_000, max_bytes=2**24, query_tokens=5)


def units_of(bounds: list[int], *, exact: bool = False, text: str = "a text") -> Units:
    """Return units whose tokens are known to be at most these."""
    everything = np.arange(len(bounds))
    return Units(
        row_texts=pa.array([text] * len(bounds), pa.large_string()),
        rows=everything,
        own_contents={},
        documents=everything,
        content_hashes=everything.astype(np.uint64),
        tokens=np.array(bounds, np.int64),
        exact=np.full(len(bounds), exact),
        sizes=np.full(len(bounds), len(text.encode())),
    )


def packer(*, anchors: bool = True) -> UnitPacker:
    return UnitPacker(QWEN, TokenCounter(), cut_at=4_000, anchors=anchors)


@pytest.mark.parametrize(
    ("bounds", "suffice"),
    [
        ([995], True),  # 5 of the query, 1,000 in all
        ([996], False),
        ([95] * 10, True),
        ([95] * 9 + [96], False),
        ([85] * 20, True),  # of two requests nine tenths may be used
        ([85] * 19 + [86], False),
        ([95] * 12, True),  # 1,200 of 1,800
        ([160] * 11, False),
        ([], True),
    ],
)
def test_bounds_suffice_if_they_fit_the_requests_that_documents_take(
    bounds: list[int], suffice: bool
) -> None:
    assert packer().suffice(units_of(bounds), LIMITS) is suffice
    assert packer().settled(units_of(bounds), LIMITS).exact.any() == (not suffice)


@pytest.mark.parametrize(("max_documents", "bound"), [(15, 10), (100, 100)])
def test_where_scores_are_trusted_there_are_no_anchors(max_documents: int, bound: int) -> None:
    """Whether documents decide the number of requests, or their tokens."""
    limits = replace(LIMITS, max_documents=max_documents)
    units = units_of([bound] * 40, text=f"a text of {ENGLISH * 4}")

    for anchors in (True, False):
        _, packing = packer(anchors=anchors).packed(units, units.sizes, limits)

        assert len(packing.homes) > 1
        assert (len(packing.anchors) > 0) is anchors


def test_of_another_vocabulary_tokens_are_no_more_than_characters_also_once_counted() -> None:
    units = units_of([400] * 20, text="1234567890" * 10)  # a Qwen token a digit
    own = UnitPacker(XLM_R, TokenCounter(), cut_at=4_000, anchors=True)

    counted, packing = own.packed(units, units.sizes, replace(LIMITS, max_documents=100))

    assert counted.exact.all()
    assert packing.tokens.tolist() == [102] * 20
    assert own.suffice(units_of([400] * 9, text="1234567890" * 10), LIMITS)
    assert not own.suffice(units_of([400] * 10, text="1234567890" * 10), LIMITS)


def test_what_is_known_exactly_is_taken_off_what_others_may_have() -> None:
    units = units_of([90] * 5 + [120] * 5, text=f"a text of {ENGLISH * 4}")
    units = replace(units, exact=np.arange(10) < 5)

    settled = packer().settled(units, LIMITS)

    assert packer().suffice(settled, LIMITS)
    assert settled.exact.sum() == 5 + 2  # of 600 tokens 100 are too many
