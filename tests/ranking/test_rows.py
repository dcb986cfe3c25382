"""Rows of a group that took several requests: ties and copies stand as in one request."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.group_world import FakeService, make_group, make_planner, relevance

from pipeline.core.records import Ranking
from pipeline.ranking.refused_sizes import RefusedSizes
from pipeline.ranking.rerank_group import rerank_group


def coarse(query: str, text: str) -> float:
    """Return one of few scores, so that many texts are tied."""
    return 0.05 + round(0.9 * relevance(query, text), 1)


def bent(scores: np.ndarray) -> np.ndarray:
    """Apply an increasing map that depends on the request, the same to equal scores."""
    distinct, place = np.unique(scores, return_inverse=True)
    power = 0.5 + round(1000 * float(scores.sum())) % 5
    return np.asarray((distinct**power)[place])


async def rank(
    texts: list[str], ranks: list[int], service: FakeService, depth: int | None = None
) -> Ranking:
    planner = make_planner(max_documents=25, certify_depth=depth)
    group = make_group(texts, ranks=ranks)
    return await rerank_group(planner.plan(group), service.ask, planner, RefusedSizes())


def of_one_request(texts: list[str], ranks: list[int]) -> list[int]:
    """Return the rows as one request without limits would rank them."""
    return sorted(
        range(len(texts)), key=lambda row: (-coarse("what is it", texts[row]), ranks[row])
    )


@given(
    st.lists(st.integers(0, 60), min_size=50, max_size=150),
    st.permutations(range(1, 151)),
    st.integers(1, 40),
)
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("distort", [bent, lambda scores: scores], ids=["linked", "one scale"])
async def test_the_certified_rows_are_those_of_one_request(distort, numbers, ranks, depth):
    """Equal scores, and the copies of a text, stand in first-stage order."""
    texts = [f"document number {number}" for number in numbers]
    ranks = ranks[: len(texts)]
    assume(len(set(texts)) > 25)

    ranking = await rank(texts, ranks, FakeService(coarse, distort), depth)

    certified = ranking.certified_depth
    assert ranking.order[:certified].tolist() == of_one_request(texts, ranks)[:certified]


@given(st.lists(st.integers(0, 200), min_size=60, max_size=120, unique=True))
@settings(max_examples=30, deadline=None)
async def test_a_reader_of_32_bit_scores_sees_the_same_order_of_texts(numbers):
    texts = [f"document number {number}" for number in numbers]

    ranking = await rank(texts, list(range(1, len(texts) + 1)), FakeService(distort=bent))

    assume(ranking.merge_status != "comparable")
    scores = ranking.scores.astype(np.float32)
    assert np.isfinite(scores).all()
    assert (np.diff(scores) < 0).all()  # no two of these texts have the same score


async def test_copies_of_a_text_do_not_take_turns_with_a_text_of_another_score():
    """Ten texts of two copies each: all first copies before all second ones in the first stage."""
    texts = [f"document number {number}" for number in range(60)] * 2

    ranking = await rank(texts, list(range(1, 121)), FakeService(distort=bent), 10)

    order = ranking.order.tolist()
    assert ranking.merge_status != "comparable"
    assert [row % 60 for row in order[0::2]] == [row % 60 for row in order[1::2]]
