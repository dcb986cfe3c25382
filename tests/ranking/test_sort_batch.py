"""Many rankings sorted at once have the order that each has alone."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from support.group_world import make_group

from pipeline.core.records import Ranking
from pipeline.ranking.sort_batch import sort_rankings

unhurried = settings(deadline=None)

scores = st.sampled_from([0.1, 0.5, 0.9, np.nan])


@st.composite
def rankings(draw: st.DrawFn) -> Ranking:
    """Rankings with equal scores and equal ranks, in first-stage order or not."""
    ranks = draw(st.lists(st.integers(1, 4), min_size=1, max_size=9))
    if draw(st.booleans()):
        ranks, tie_break = list(range(1, len(ranks) + 1)), None
    else:
        tie_break = np.array(draw(st.permutations(range(len(ranks)))))
    values = draw(st.lists(scores, min_size=len(ranks), max_size=len(ranks)))
    group = make_group(["text"] * len(ranks), ranks=ranks, before=["another"])
    return Ranking(group.output, np.array(values), "single_request", tie_break)


@unhurried
@given(st.lists(rankings(), max_size=8))
def test_rankings_sorted_at_once_have_the_order_that_each_has_alone(together):
    alone = [replace(ranking) for ranking in together]

    sort_rankings(together)

    assert not any(one.needs_sorting for one in together)
    assert [one.order.tolist() for one in together] == [one.order.tolist() for one in alone]
    assert [one.scores.tobytes() for one in together] == [one.scores.tobytes() for one in alone]


@unhurried
@given(rankings())
def test_the_order_is_by_score_then_rank_then_tie_break_and_the_unscored_come_last(ranking):
    ranks = ranking.group.first_stage_rank
    tie_break = np.arange(len(ranks)) if ranking.tie_break is None else ranking.tie_break

    def place(row: int) -> tuple[float, int, int]:
        score = ranking.row_scores[row]
        return (np.inf if np.isnan(score) else -score, ranks[row], tie_break[row])

    assert ranking.order.tolist() == sorted(range(len(ranks)), key=place)


def test_an_order_that_is_known_is_kept():
    group = make_group(["a", "b"])
    ranking = Ranking(group.output, np.array([0.1, 0.2]), "single_request")
    ranking.keep_order(order := np.array([1, 0]))

    sort_rankings([ranking])

    assert ranking.order is order
