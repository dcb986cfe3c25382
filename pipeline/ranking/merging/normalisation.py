"""Recognise answers that were normalised over their request, by the scores alone.

Such scores cannot be compared across requests, even if the anchors happen to agree. Each kind has
its own fingerprint; independent scores match it only by a rare chance, which costs a final request.
"""

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Final

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import FloatArray, IntArray
from pipeline.ranking.merging.resolution import resolution_of

EQUAL: Final = 1e-9
"""Difference of equal scores, relative to the range of the scores."""
EQUAL_SUMS: Final = 0.0005
"""Difference of equal sums, in standard deviations of a sum of independent scores."""
MAX_SUM_ROUNDING: Final = 0.01
"""If rounding may change a sum by more of these, equal sums are no evidence."""
EQUAL_BESIDE: Final = 1e-6
"""Difference of equal ends, relative to their distance from the next score."""
APART: Final = 5.0
"""An extreme score is evidence only if it is this many resolutions from the next one."""
ONE_DOCUMENT: Final = 1.1
"""Largest difference between numbers of documents that are the same up to one document."""


class _End(Struct, frozen=True):
    """The best scores of all answers.

    Attributes:
        equal: Whether they are equal, perhaps by rounding.
        apart: Whether they are equal, and stand apart from the other scores of their answers.
        of_one: Whether they all belong to one document, which is an anchor.
    """

    equal: bool
    apart: bool
    of_one: bool

    @classmethod
    def of(
        cls, answers: Sequence[FloatArray], documents: Sequence[IntArray], resolution: float
    ) -> "_End":
        """Return the best scores of answers, which are rounded to a resolution."""
        best = {int(of_answer[a.argmax()]) for a, of_answer in zip(answers, documents, strict=True)}
        second, first = np.array([np.partition(answer, -2)[-2:] for answer in answers]).T
        difference, gap = float(np.ptp(first)), float((first - second).min())
        return cls(
            equal=difference <= EQUAL * float(max(map(np.ptp, answers))),
            apart=gap > APART * resolution and difference <= EQUAL_BESIDE * gap,
            of_one=len(best) == 1,
        )


def look_normalised(answers: Sequence[FloatArray], documents: Sequence[IntArray]) -> bool:
    """Return whether all answers have the same ends or the same sum.

    An equal best or worst score indicates a division by the best score or the like, unless it is
    the score of the same document; both indicate min-max normalisation; an equal sum indicates
    softmax or raw z-scores. An equal end must stand apart from the other scores, since rounding and
    saturation make equal ends too. Answers that lack the score of some document do not count.

    Args:
        answers: The scores of each request, NaN for a document without a score.
        documents: Their documents.
    """
    is_whole = [len(answer) > 1 and bool(np.isfinite(answer).all()) for answer in answers]
    whole, of_whole = list(compress(answers, is_whole)), list(compress(documents, is_whole))
    if len(whole) < 2:
        return False
    resolution = resolution_of(np.concatenate(whole))
    highest = _End.of(whole, of_whole, resolution)
    lowest = _End.of([-answer for answer in whole], of_whole, resolution)
    ends = (highest, lowest)
    return (
        any(end.apart and not end.of_one for end in ends)
        or (all(end.equal for end in ends) and any(end.apart for end in ends))
        or _have_same_sum(whole, resolution)
    )


def _have_same_sum(answers: Sequence[FloatArray], resolution: float) -> bool:
    scores = np.concatenate(answers)
    largest = float(np.abs(scores).max()) or 1.0  # a divisor, so that no square overflows
    sums = [float((answer / largest).sum()) for answer in answers]
    size = np.sqrt(max(map(len, answers)))
    deviation = size * (scores / largest).std()
    rounding = 3 * resolution / largest * size * np.sqrt(2 / 12)
    if rounding > MAX_SUM_ROUNDING * deviation:
        return False
    return bool(max(sums) - min(sums) <= EQUAL_SUMS * deviation + rounding)


def follow_from_ranks(answers: Sequence[FloatArray]) -> bool:
    """Return whether the score is a function of the rank, the same one in all answers.

    Whatever the function, two answers then have the same scores at the same ranks, as far as both
    have documents. Ranks may be counted from the first document or from the last.

    Args:
        answers: The scores of each request, NaN for a document without a score.
    """
    return _all_agree(answers, _same_scores_at_ranks)


def are_spread_alike(answers: Sequence[FloatArray]) -> bool:
    """Return whether all answers have as large a share of their documents above any score.

    They do, up to one document, if the score is a function of rank / n for n documents, or if
    requests of different sizes count their ranks in different ways. Two samples of 25 independent
    scores are that close in one of 10^10 cases (Kolmogorov-Smirnov), but so may be the scores of
    requests that were dealt in almost the order of the scores.

    Args:
        answers: The scores of each request, NaN for a document without a score.
    """
    return _all_agree(answers, _spread_alike)


def _all_agree(
    answers: Sequence[FloatArray], agree: Callable[[FloatArray, FloatArray], bool]
) -> bool:
    """Return whether the first answer agrees with each other one, in ascending order of scores."""
    ascending = [np.sort(answer[np.isfinite(answer)]) for answer in answers]
    return len(ascending) > 1 and all(agree(ascending[0], other) for other in ascending[1:])


def _same_scores_at_ranks(one: FloatArray, other: FloatArray) -> bool:
    both = min(len(one), len(other))
    limit = EQUAL * float(max(one[-1], other[-1]) - min(one[0], other[0]))
    return any(
        bool((np.abs(one[part] - other[part]) <= limit).all())
        for part in (slice(both), slice(-both, None))
    )


def _spread_alike(one: FloatArray, other: FloatArray) -> bool:
    scores = np.concatenate((one, other))
    below = [np.searchsorted(ascending, scores) / len(ascending) for ascending in (one, other)]
    limit = ONE_DOCUMENT / min(len(one), len(other))
    return bool(np.abs(below[0] - below[1]).max() <= limit)
