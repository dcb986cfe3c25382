"""Groups that are one request as they stand, planned and ranked for next to nothing.

Nearly every group is *plain*: its query and its texts are sent whole, none is blank or comes twice,
and by their bounds all fit one request. What `Planner.plan` finds out for any group step by step is
then known from a few sums over the columns of a batch, and one answer ranks the group. Request and
ranking are the same either way; the other way is taken for every group that is not plain, and for a
plain one of which the service refuses something.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, cast

import numpy as np

from pipeline.group_plan import GroupPlan, request_key, sending_order
from pipeline.planner import Planner, most_body_bytes
from pipeline.records import (
    BoolArray,
    Group,
    GroupBatch,
    IntArray,
    Ranking,
    Request,
    Scores,
    TextMeasures,
)


@dataclass(frozen=True, slots=True, eq=False)
class PlainPlan:
    """A plain group's request.

    Attributes:
        request: Holds every text of the group.
        rows: int64, the row of each document, in the request's order.
        ranks_ascend: The first stage's ranks rise along the rows.
    """

    query_cut: ClassVar[bool] = False

    group: Group
    request: Request
    rows: IntArray
    ranks_ascend: bool

    def keys(self) -> list[bytes]:
        """The key of the answer that ranks the group."""
        return [self.request.key]

    def ranking(self, answer: Scores) -> Ranking:
        """The candidates by their scores; equal ones by first-stage rank, then by content."""
        score = np.empty(len(self.rows))
        score[self.rows] = answer.scores
        if self.ranks_ascend:
            order = np.argsort(-score, kind="stable")
        else:
            keys, rank = self.group.measures.keys, self.group.first_stage_rank
            order = np.lexsort((keys, rank, -score))
        total_tokens = answer.total_tokens
        return Ranking(
            group=self.group.output,
            order=order,
            scores=score[order],
            merge_status="single_request",
            certified_depth=len(order),
            num_requests=1,
            total_tokens=self.request.tokens if total_tokens is None else total_tokens,
        )


AnyPlan: TypeAlias = GroupPlan | PlainPlan


def plan_batch(planner: Planner, batch: GroupBatch, measures: TextMeasures) -> Iterator[AnyPlan]:
    """Yield a plan for each group of a batch, in order; `measures` are those of its texts."""
    sums = _Sums.of(planner, batch, measures)
    texts = cast("list[str]", batch.texts.to_pylist())
    for number, group in enumerate(batch.iter_groups(measures)):
        plan = _plain_plan(planner, group, texts, sums, number) if sums.sendable[number] else None
        yield plan or planner.plan(group)


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """What is known of a batch's groups from its columns; one element per group.

    Attributes:
        sendable: No text is blank, or so long that it may have to be cut or split.
        weights: Tokens of the texts in the model's own count, at most.
        sizes: Bytes that they take in a body, at most.
        ranks_ascend: The first stage's ranks rise along the rows.
    """

    sendable: list[bool]
    weights: list[int]
    sizes: list[int]
    ranks_ascend: list[bool]

    @classmethod
    def of(cls, planner: Planner, batch: GroupBatch, measures: TextMeasures) -> "_Sums":
        first = batch.offsets[:-1]
        odd = measures.blank | (measures.token_bounds > planner.longest_whole_text)
        falls: BoolArray = np.diff(batch.first_stage_rank, prepend=0) <= 0
        falls[first] = False  # from one group to the next
        weights = planner.weights(measures.token_bounds, measures.sizes)
        return cls(
            sendable=(~np.logical_or.reduceat(odd, first)).tolist(),
            weights=np.add.reduceat(weights, first).tolist(),
            sizes=np.add.reduceat(most_body_bytes(measures.sizes), first).tolist(),
            ranks_ascend=(~np.logical_or.reduceat(falls, first)).tolist(),
        )


def _plain_plan(
    planner: Planner, group: Group, texts: Sequence[str], sums: _Sums, number: int
) -> PlainPlan | None:
    """The group's plan if it is plain; `texts` are those of the whole batch."""
    query = group.query
    if not query or not query.strip():
        return None
    sent_query, query_tokens = planner.sent_query(query)
    limits = planner.request_limits(query, query_tokens)
    num_documents, tokens = group.num_candidates, sums.weights[number]
    if sent_query != query or not limits.fits(num_documents, tokens, sums.sizes[number]):
        return None
    scope = planner.scope(query)
    start = group.output.start
    keys = group.batch_measures.keys[start : group.output.stop]
    rows = sending_order(keys, scope)
    keys = keys[rows]
    if len(set(keys.tolist())) != num_documents:
        return None
    request = Request(
        query=query,
        documents=[texts[start + row] for row in rows.tolist()],
        tokens=num_documents * limits.pair_tokens + tokens,
        key=request_key(scope, keys),
        document_keys=keys,
        query_id=group.query_id,
    )
    return PlainPlan(group, request, rows, sums.ranks_ascend[number])
