"""Groups that are one request as they stand, planned and ranked for next to nothing.

Nearly every group is *plain*: its query and its texts are sent whole, none is blank or comes twice,
and by their bounds all fit one request. What `Planner.plan` finds out for any group step by step is
then known from a few passes over the columns of a batch, and one answer ranks the group. Request
and ranking are the same either way; the other way is taken for every group that is not plain, and
for a plain one of which the service refuses something.

Work goes over whole batches and whole parts, since that is less of it.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, TypeAlias, cast

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from pipeline.core.arrays import BoolArray, FloatArray, IntArray, KeyArray
from pipeline.core.groups import Group, GroupBatch, GroupRows, TextMeasures
from pipeline.core.records import MergeStatus, Ranking, Reject, Request, Scores
from pipeline.planning.plan import GroupPlan, request_key
from pipeline.planning.planner import MAX_UTF8, Planner, most_body_bytes


class SingleRequestPlan(Struct, frozen=True, eq=False):
    """A plain group's request.

    Attributes:
        request: Holds every text of the group.
        rows: int64, the row of each document, in the request's order.
        ranks_rise: The first stage's ranks rise along the rows, as they nearly always do.
    """

    query_cut: ClassVar[bool] = False

    group: Group
    request: Request
    rows: IntArray
    ranks_rise: bool

    def keys(self) -> list[bytes]:
        """The key of the answer that ranks the group."""
        return [self.request.key]

    def answered(self, answer: Scores) -> "UnsortedRanking":
        """What became of the group."""
        scores = np.empty(len(self.rows))
        scores[self.rows] = answer.scores
        total_tokens, output = answer.total_tokens, self.group.output
        return UnsortedRanking(
            group=output,
            keys=None if self.ranks_rise else self.group.measures.keys,
            scores=scores,
            total_tokens=self.request.tokens if total_tokens is None else total_tokens,
        )


class UnsortedRanking(Struct, frozen=True, eq=False):
    """A plain group that is not yet put in order; `rank_plain_groups` makes it a `Ranking`.

    Attributes:
        keys: Content keys, one per row; None where the rows are in key order.
        scores: One per row.
    """

    merge_status: ClassVar[MergeStatus] = "single_request"
    num_truncated: ClassVar[int] = 0
    rejects: ClassVar[tuple[Reject, ...]] = ()
    documents_reused: ClassVar[int] = 0
    saved_tokens: ClassVar[int] = 0

    group: GroupRows
    keys: KeyArray | None
    scores: FloatArray
    total_tokens: int


AnyPlan: TypeAlias = GroupPlan | SingleRequestPlan
Ranked: TypeAlias = Ranking | UnsortedRanking


def plan_batch(planner: Planner, batch: GroupBatch, measures: TextMeasures) -> list[AnyPlan]:
    """A plan for each group of a batch, in order; `measures` are those of its texts."""
    return plan_rest(planner, plan_plain_groups(planner, batch, measures))


def plan_rest(planner: Planner, groups: Sequence[SingleRequestPlan | Group]) -> list[AnyPlan]:
    """A plan for each group, those included that have none yet: that may take long."""
    return [planner.plan(group) if isinstance(group, Group) else group for group in groups]


def plan_plain_groups(
    planner: Planner, batch: GroupBatch, measures: TextMeasures
) -> list[SingleRequestPlan | Group]:
    """A plan for each group of a batch that is plain, and the group itself where it is not."""
    fitting = _Fitting(planner, batch, measures)
    scopes = [planner.scope(query or "") for query in batch.queries]
    salts = np.frombuffer(b"".join(scopes), dtype=np.uint64)[::2]
    sizes = np.diff(batch.offsets)
    mixed = measures.keys ^ np.repeat(salts, sizes)
    order = order_within_groups(mixed, sizes)
    mixed = mixed[order]
    comes_twice = (np.diff(mixed, prepend=mixed[:1] + 1) == 0) & ~fitting.begins
    distinct = ~np.logical_or.reduceat(comes_twice, batch.offsets[:-1])
    keys = measures.keys[order]
    rows = order - np.repeat(batch.offsets[:-1], sizes)
    bounds = pairwise(batch.offsets.tolist())
    groups = list(batch.iter_groups(measures))
    all_tokens = [
        tokens if is_distinct else None
        for tokens, is_distinct in zip(fitting.request_tokens, distinct.tolist(), strict=True)
    ]
    # Where none is plain, strings are spared: a huge group would hold all its texts a second time.
    texts = np.empty(0, np.object_)
    if any(tokens is not None for tokens in all_tokens):
        texts = batch.texts.to_numpy(zero_copy_only=False)[order]
    plans = list[SingleRequestPlan | Group]()
    for group, (start, stop), scope, tokens, ranks_rise in zip(
        groups, bounds, scopes, all_tokens, fitting.ranks_rise, strict=True
    ):
        if tokens is None:
            plans.append(group)
            continue
        request = Request(
            query=cast("str", group.query),
            documents=texts[start:stop].tolist(),
            tokens=tokens,
            key=request_key(scope, keys[start:stop]),
            document_keys=keys[start:stop],
            query_id=group.query_id,
        )
        plans.append(SingleRequestPlan(group, request, rows[start:stop], ranks_rise))
    return plans


class _Fitting:
    """Which groups of a batch fit one request as they stand; one element per group.

    Attributes:
        begins: Whether a row is the first of its group.
        ranks_rise: The first stage's ranks rise along the rows.
        request_tokens: Tokens of the group as one request, at most; None where it is not one.
    """

    def __init__(self, planner: Planner, batch: GroupBatch, measures: TextMeasures) -> None:
        first = batch.offsets[:-1]
        self.begins: BoolArray = np.zeros(len(measures.keys), np.bool_)
        self.begins[first] = True
        rises = (np.diff(batch.first_stage_rank, prepend=0) > 0) | self.begins
        self.ranks_rise: list[bool] = np.logical_and.reduceat(rises, first).tolist()
        odd = measures.blank | (measures.token_bounds > planner.longest_whole_text)
        weights = planner.weights(measures.token_bounds, measures.sizes)
        self.request_tokens: list[int | None] = _request_tokens(
            planner,
            batch,
            are_whole=(~np.logical_or.reduceat(odd, first)).tolist(),
            tokens=np.add.reduceat(weights, first),
            body_bytes=np.add.reduceat(most_body_bytes(measures.sizes), first),
        )


def _request_tokens(
    planner: Planner,
    batch: GroupBatch,
    *,
    are_whole: list[bool],
    tokens: IntArray,
    body_bytes: IntArray,
) -> list[int | None]:
    """Tokens of each group as one request; None where it is not whole, or over a limit."""
    queries = [query or "" for query in batch.queries]
    sent = [
        planner.sent_query(query) if is_whole and query.strip() else (None, 0)
        for query, is_whole in zip(queries, are_whole, strict=True)
    ]
    are_sent = [query == as_sent for query, (as_sent, _) in zip(queries, sent, strict=True)]
    query_lengths = np.array([len(query) for query in queries])
    pair_tokens = planner.pair_tokens(np.array([count for _, count in sent]), query_lengths)
    sizes, limits = np.diff(batch.offsets), planner.request_limits("", 0)
    request_tokens = sizes * pair_tokens + tokens
    request_bytes = limits.query_bytes + most_body_bytes(MAX_UTF8 * query_lengths) + body_bytes
    fits = (
        np.array(are_sent)
        & (sizes <= limits.max_documents)
        & (request_tokens <= limits.max_tokens)
        & (request_bytes <= limits.max_bytes)
    )
    both = zip(request_tokens.tolist(), fits.tolist(), strict=True)
    return [tokens_of_one if is_one else None for tokens_of_one, is_one in both]


def order_within_groups(values: NDArray[Any], sizes: IntArray) -> IntArray:
    """Indices that sort values within each of some adjacent groups; equal ones keep their order."""
    if (sizes == sizes[0]).all():  # as in many a dataset: the first stage's top 100
        by_group = np.argsort(values.reshape(len(sizes), -1), axis=1, kind="stable")
        firsts: IntArray = np.cumsum(sizes) - sizes
        return (by_group + firsts[:, np.newaxis]).ravel()
    return np.lexsort((values, np.repeat(np.arange(len(sizes)), sizes)))
