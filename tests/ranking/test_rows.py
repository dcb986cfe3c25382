"""Rows of a group that took several requests: ties and copies stand as in one request."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.group_world import (
    FakeService,
    make_group,
    make_planner,
    plan_like_a_run,
    relevance,
)

from pipeline.core.records import Ranking
from pipeline.ranking.merging.merged import Merged
from pipeline.ranking.refused_sizes import RefusedSizes
from pipeline.ranking.rerank_group import rerank_group
from pipeline.ranking.rows import make_ranking


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


@pytest.mark.parametrize(
    ("texts", "tied", "certified"),
    [
        ("abbc", True, 2),  # another text may stand before the copy of b
        ("abbc", False, 3),
        ("aabbc", True, 3),  # the copy of a has a higher score, so nothing stands before it
        ("aabbc", False, 4),
        ("aabc", True, 3),
        ("abc", True, 2),
    ],
)
def test_copies_of_the_last_certified_text_are_certified_unless_it_may_be_tied(
    texts: str, tied: bool, certified: int
) -> None:
    group = make_group([*texts])
    merged = Merged(
        np.arange(3), np.array([0.9, 0.5, 0.3]), "linked_affine", certified_depth=2, open_tie=tied
    )

    ranking = make_ranking(make_planner().plan(group), merged, {}, num_requests=3, total_tokens=70)

    assert ranking.order.tolist() == list(range(len(texts)))
    assert ranking.certified_depth == certified
    assert ranking.group is group.output
    assert (ranking.merge_status, ranking.num_requests, ranking.total_tokens) == (
        "linked_affine",
        3,
        70,
    )


@pytest.mark.parametrize("ranks", [[1, 2, 3, 4], [3, 1, 2, 2]])
async def test_only_ranks_that_do_not_ascend_need_more_than_the_scores(ranks: list[int]) -> None:
    """The others are sorted many at once."""
    service, planner = FakeService(), make_planner()
    plan = plan_like_a_run(planner, make_group([*"abcd"], ranks=ranks))

    ranking = await rerank_group(plan, service.ask, planner, RefusedSizes())

    assert ranking.needs_sorting == (ranks == sorted(ranks))


@pytest.mark.parametrize("best", [0, 1])
async def test_a_document_of_two_passages_among_whole_ones_takes_the_better_score(
    best: int,
) -> None:
    passages = [f"The {which} of two parts is a sentence alone." for which in ("first", "second")]
    scores = {"one": 0.5, "two": 0.4, passages[best]: 0.9, passages[1 - best]: 0.1}
    service = FakeService(lambda query, text: scores[text.strip()])
    planner = make_planner(max_tokens_per_document=16, long_documents="max-passage")
    long = "\n\n".join(passages)
    plan = planner.plan(make_group(["one", long, "two"]))

    ranking = await rerank_group(plan, service.ask, planner, RefusedSizes())

    assert len(plan.units) == 4
    assert ranking.order.tolist() == [1, 0, 2]
    assert ranking.scores.tolist() == [0.9, 0.5, 0.4]


async def test_a_ranking_tells_how_many_rows_were_cut() -> None:
    planner, long = make_planner(max_tokens_per_document=20), "one two three four five " * 10
    plan = planner.plan(make_group([long, "short", long]))

    ranking = await rerank_group(plan, FakeService().ask, planner, RefusedSizes())

    assert ranking.num_truncated == 2
