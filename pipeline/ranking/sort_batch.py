"""Sort the rankings of many single-request groups at once."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from pipeline.core.records import Ranking
from pipeline.planning.single_request import Ranked, UnsortedRanking, order_within_groups


def rank_plain_groups(groups: Sequence[Ranked]) -> list[Ranking]:
    """The same groups, with those that are plain in order of score.

    Equal scores are in order of first-stage rank, and equal ranks in order of content.
    """
    plain = [group for group in groups if isinstance(group, UnsortedRanking)]
    rankings = _iter_rankings(plain) if plain else iter(())
    return [next(rankings) if isinstance(group, UnsortedRanking) else group for group in groups]


def _iter_rankings(plain: Sequence[UnsortedRanking]) -> Iterator[Ranking]:
    sizes = np.array([len(answer.scores) for answer in plain])
    bounds = np.cumsum([0, *sizes])
    scores = np.concatenate([answer.scores for answer in plain])
    order = order_within_groups(-scores, sizes)
    rows = order - np.repeat(bounds[:-1], sizes)
    for answer, (start, stop) in zip(plain, pairwise(bounds.tolist()), strict=True):
        of_group = rows[start:stop]
        if answer.keys is not None:
            ranks = answer.group.first_stage_rank
            of_group = np.lexsort((answer.keys, ranks, -answer.scores))
        yield Ranking(
            group=answer.group,
            order=of_group,
            scores=answer.scores[of_group],
            merge_status=answer.merge_status,
            certified_depth=stop - start,
            num_requests=1,
            total_tokens=answer.total_tokens,
        )
