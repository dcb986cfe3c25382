"""Merging: the scores of several requests for one query become one ranking.

A service may state that a score is relative to its request. Then a score is an unknown increasing
function of relevance, possibly another one in every request. Whether it is, is measured rather
than assumed, with *anchors*: a few documents that stand in every request (the common items of
test equating; overlap documents in the results merging of Si & Callan, doi 10.1145/944012.944017).

1. *Gather* (`answers`). Every document has one home request, and a rank in it.
2. *Compare* (`comparability`). If the anchors score alike in all requests, an F-test and a root
   mean square on the logit scale say so: the documents are sorted by score as they are, since a
   link that is not needed only adds noise. Status `comparable`.
3. *Link* (`linking`). Otherwise every request is mapped to the query's reference scale: by a
   straight line on the logit (`affine`), or by counting between anchors, which holds under any
   increasing map (`splitters`). The model that predicts left-out anchors better is taken.
   Status `linked_affine` or `linked_rank`; `unstable` where even that prediction is poor.
4. *Settle* (`final`). The best of the linked order go into one final request, whose own order
   becomes the head. With them goes one *witness* per home request: its best document left out.
   A request orders its own documents rightly, so whatever is left out stands below its witness,
   and every place above the first witness is proved: the *certified depth*. This is the stopping
   rule of the threshold algorithm (Fagin et al., doi 10.1016/S0022-0000(03)00026-6).

Everything is a pure function of numbers. Documents are the integers 0..n-1 in key order (best
first-stage rank first), which also breaks ties. Scores on [0, 1] are taken for sigmoids; if any
first-round score lies outside, all are taken for logits, and no score is deemed saturated.

`certified_depth` speaks of the documents that have a score. It is 0 with a failed request, since
any document without an answer might belong to the head.
"""

from collections.abc import Sequence

from pipeline.core.arrays import FloatArray
from pipeline.planning.packing import Packing
from pipeline.ranking.merging.comparability import Comparability, compare
from pipeline.ranking.merging.final_request import FinalRequest, settle_head
from pipeline.ranking.merging.first_round import gather
from pipeline.ranking.merging.linking import Link, link
from pipeline.ranking.merging.logit_scale import LogitScale
from pipeline.ranking.merging.merged import Merged, by_one_answer, by_score, is_whole

__all__ = ["Comparability", "FinalRequest", "Link", "Merged", "merge"]


def merge(
    packing: Packing,
    answers: Sequence[FloatArray | None],
    *,
    depth: int = 100,
    trust: bool = False,
) -> Merged | FinalRequest:
    """Merge the answers of a group's first-round requests.

    The outcome is either the ranking or a final request to send; `FinalRequest.settle` takes its
    scores and again returns the ranking or, once, a wider final request.

    Args:
        packing: how the group was packed.
        answers: for each of `packing.requests()`, its scores in the request's order, NaN where a
            document got none; None where the whole request failed for good.
        depth: how many places from the top the final request shall settle.
        trust: compare scores across requests without proof; the status is `comparable`.

    Raises:
        ValueError: if the answers do not correspond to the requests.
    """
    if len(answers) == len(packing.homes) == 1 and is_whole(answers[0], len(packing.tokens)):
        return by_one_answer(answers[0])
    first = gather(packing, answers)
    if first.num_requests <= 1 or trust:
        return by_score(first)
    scale = LogitScale.of(first.all_scores)
    comparability = compare(first, scale)
    if comparability.comparable:
        return by_score(first, comparability)
    linked = link(first, scale, comparability)
    return settle_head(packing, first, comparability, linked, depth)
