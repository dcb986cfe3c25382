"""Merge the scores of several requests for one query into one ranking.

A service may state that a score is relative to its request. The score is then an increasing
function of relevance that may differ from request to request. Whether it differs is measured, for
each query, with *anchors*: a few documents that are in every request (the common items of test
equating; the overlap documents in the results merging of Si & Callan, doi 10.1145/944012.944017).

1. *Collect* (`first_round`). Every document has one home request and a rank in it.
2. *Compare* (`comparability`). The anchors' scores are put on the scale on which the group's scores
   are spread evenly, in units of their spread (`scale`). Tests decide whether the anchors have the
   same values in all requests, up to tolerated noise, and whether the scores of all requests have
   one distribution (`distribution_test`). If so, and unless the scores look normalised over their
   request (`normalisation`), documents are sorted by raw score: a link without need would only add
   noise.
3. *Link* (`linking`). Otherwise every request is mapped to the query's reference scale: by a
   straight line (`affine_link`), or by counts between anchors (`rank_link`), which hold for any
   increasing function. The model with the smaller leave-one-anchor-out error is used; the affine
   model, which is finer, also if its error is up to 1.2 times the other.
4. *Settle the head* (`head`, `final_request`). The best documents of the linked order are scored
   together in one *final request*, and its order becomes the head. It also holds one *witness* per
   home request: the best of that request's documents that it leaves out. If the witnesses do not
   fit with enough other documents, *preliminary requests* settle the heads of some home requests
   each, and have one witness each in the final request.

The certificate: a request orders its own documents correctly, so every left-out document ranks
below its witness, and no left-out document can claim a place above the first witness. The number of
these places, at most the depth asked for, is the *certified depth*. This is the stopping rule of
the threshold algorithm (Fagin et al., doi 10.1016/S0022-0000(03)00026-6). If a witness is within
the depth, one wider final request may follow.

| status | the ranking | certified depth |
|---|---|---|
| `single_request` | by the service's scores of one request | all scored documents |
| `comparable` | by raw scores: the tests passed | all scored documents |
| `trusted` | by raw scores, without a test | 0 |
| `linked_affine`, `linked_rank` | head by the final request, rest by the link | the head |
| `unstable` | the same, but the link predicts poorly | the head |
| | or by the link alone: no final request fits a request, or it was not answered | 0 |
| `incomplete` | a request failed: its documents have no score and come last | 0 |
| `empty` | no document was sent | 0 |

The certified depth refers to documents that have a score. It is 0 with a failed request because any
document of that request might belong to the head.

The cost, beyond the requests that a group needs without anchors: k anchors in C requests are
k (C - 1) further documents. Comparable requests need no further request. Otherwise the final
request has at most ceil(1.1 depth) + 5 documents with the affine link, or ceil(1.4 depth) + 5 with
the rank link, and C witnesses; the wider final request, if one follows, some more. Without a given
depth they take at most a quarter of the group's tokens, unless ten places take more. Preliminary
requests are one for each third of the documents that fit a request, rounded up.

Everything here is a pure function of numbers. Documents are the integers 0..n-1 in key order (best
first-stage rank first), which also breaks ties.
"""

from collections.abc import Sequence

from pipeline.core.arrays import FloatArray
from pipeline.planning.packing import Packing
from pipeline.ranking.merging.comparability import Comparability, compare
from pipeline.ranking.merging.final_request import FinalRequest
from pipeline.ranking.merging.first_round import collect_first_round
from pipeline.ranking.merging.head import PreliminaryRequests, settle_head
from pipeline.ranking.merging.linking import Link, link
from pipeline.ranking.merging.merged import Merged, by_one_answer, by_score, is_whole
from pipeline.ranking.merging.scale import choose_scale

__all__ = ["Comparability", "FinalRequest", "Link", "Merged", "PreliminaryRequests", "merge"]


def merge(
    packing: Packing,
    answers: Sequence[FloatArray | None],
    *,
    depth: int | None = None,
    trust: bool = False,
    listwise: bool = False,
) -> Merged | FinalRequest | PreliminaryRequests:
    """Merge the answers of a group's first-round requests.

    Return the ranking, or further `requests` to send, of which `settle_all` takes the answers and
    returns the ranking or, again, further requests.

    Args:
        packing: How the group was packed.
        answers: For each of `packing.requests`, its scores in the request's order, NaN for a
            document without a score; None for a request that failed.
        depth: How many places from the top the final request shall settle; None for as many as are
            cheap, see `settle_head`.
        trust: Whether to compare raw scores without a test; the status is then `trusted`.
        listwise: Whether a score depends on the other documents of its request: raw scores of
            different requests are then never compared, whatever a test of the anchors finds.

    Raises:
        ValueError: if the answers do not correspond to the requests.
    """
    if len(answers) == len(packing.homes) == 1 and is_whole(answers[0], len(packing.tokens)):
        return by_one_answer(answers[0])
    first = collect_first_round(packing, answers)
    if first.num_requests <= 1 or trust:
        return by_score(first)
    scale = choose_scale(first)
    comparability = compare(first, scale)
    if comparability.comparable and not listwise:
        return by_score(first, comparability)
    linked = link(first, scale)
    return settle_head(packing, first, comparability, linked, depth)
