"""Fast path: plan, batch by batch, the groups that fit one request unchanged.

Nearly every group does: its query and its texts are sent whole, none is blank or repeated, and by
their token bounds all fit one request. What `Planner.plan` works out step by step for one group
then follows from a few passes over the columns of a batch. The request is the same either way.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from pipeline.core.arrays import BoolArray, IntArray
from pipeline.core.groups import Group, GroupBatch, TextMeasures, reduce_groups
from pipeline.core.records import Request
from pipeline.planning.body_bytes import MAX_UTF8, most_body_bytes
from pipeline.planning.plan import Plan, SingleRequest, joined_request_key
from pipeline.planning.planner import Planner
from pipeline.planning.search_units import count_chunks, count_search_units
from pipeline.tokens.text_buffers import text_bytes, text_offsets


class BatchPlans(Struct, frozen=True, eq=False):
    """The plans of a batch's groups, of which some may still have to be made.

    Attributes:
        planner: Makes the plans that are missing.
        groups: The groups, in input order.
        plans: The plan of each group that fits one request unchanged; None for the others.
    """

    planner: Planner
    groups: Sequence[Group]
    plans: Sequence[Plan | None]

    @property
    def is_complete(self) -> bool:
        """Whether every group has its plan."""
        return all(plan is not None for plan in self.plans)

    def complete(self) -> list[Plan]:
        """Return the plan of each group, in order; to make those that are missing may take long."""
        return [
            self.planner.plan(group) if plan is None else plan
            for group, plan in zip(self.groups, self.plans, strict=True)
        ]


def plan_batch(planner: Planner, batch: GroupBatch, measures: TextMeasures) -> BatchPlans:
    """Plan the groups of a batch that fit one request unchanged.

    Args:
        planner: Knows the limits.
        batch: The groups; at least one.
        measures: Those of what it holds.
    """
    if batch.media is not None:  # what is no text is planned group by group
        groups = list(batch.iter_groups(measures))
        return BatchPlans(planner, groups, [None] * len(groups))
    fitting = _Fitting(planner, batch, measures)
    scopes = [planner.scope(query or "") for query in batch.queries]
    salts = [planner.order_salt(query or "") for query in batch.queries]
    sizes = np.diff(batch.offsets)
    mixed = measures.content_hashes ^ np.repeat(np.array(salts, np.uint64), sizes)
    order = order_within_groups(mixed, sizes)
    mixed = mixed[order]
    repeats = (np.diff(mixed, prepend=mixed[:1] + 1) == 0) & ~fitting.begins
    distinct = ~reduce_groups(np.logical_or, repeats, batch.offsets)
    rows = order - np.repeat(batch.offsets[:-1], sizes)
    bounds = pairwise(batch.offsets.tolist())
    groups = list(batch.iter_groups(measures))
    all_tokens = [
        tokens if is_distinct else None
        for tokens, is_distinct in zip(fitting.request_tokens, distinct.tolist(), strict=True)
    ]
    # Nothing is copied if no group fits: one huge group would hold all its texts twice.
    is_any_sent = any(tokens is not None for tokens in all_tokens)
    sent = batch.texts.take(order if is_any_sent else order[:0])
    texts: NDArray[np.object_] = sent.to_numpy(zero_copy_only=False)
    offsets, octets = text_offsets(sent), text_bytes(sent)
    text_sizes = np.diff(offsets)
    plans = list[Plan | None]()
    for group, (start, stop), scope, salt, tokens, search_units, query_tokens, ranks_ascend in zip(
        groups,
        bounds,
        scopes,
        salts,
        all_tokens,
        fitting.search_units,
        fitting.query_tokens,
        fitting.ranks_ascend,
        strict=True,
    ):
        if tokens is None:
            plans.append(None)
            continue
        query = cast("str", group.query)
        documents = texts[start:stop].tolist()
        contents = octets[offsets[start] : offsets[stop]]
        request = Request(
            query=query,
            documents=documents,
            tokens=tokens,
            key=joined_request_key(scope, text_sizes[start:stop], contents),
            scope=scope,
            query_id=group.query_id,
            search_units=search_units,
        )
        plan = Plan(
            group=group,
            settings=planner.settings,
            query=query,
            query_tokens=query_tokens,
            scope=scope,
            order_salt=salt,
            accepts=planner.accepts,
            single_request=SingleRequest(request, rows[start:stop], ranks_ascend),
            pack=planner.pack_group,
        )
        plans.append(plan)
    return BatchPlans(planner, groups, plans)


class _Fitting:
    """Which groups of a batch fit one request unchanged; one element per group.

    Attributes:
        begins: Whether a row is the first of its group; one element per row.
        ranks_ascend: Whether the first stage's ranks ascend along the rows.
        query_tokens: Upper bound of the query's Qwen tokens; 0 for a group that does not fit.
        request_tokens: Upper bound of the group's tokens as one request; None if it does not fit.
        search_units: Upper bound of its search units; 0 if they are not billed.
    """

    def __init__(self, planner: Planner, batch: GroupBatch, measures: TextMeasures) -> None:
        offsets = batch.offsets
        self.begins: BoolArray = np.zeros(len(measures.content_hashes) + 1, np.bool_)
        self.begins[offsets] = True
        self.begins = self.begins[:-1]
        ascends = (np.diff(batch.first_stage_rank, prepend=0) > 0) | self.begins
        self.ranks_ascend: list[bool] = reduce_groups(np.logical_and, ascends, offsets).tolist()
        unfit = measures.blank | (measures.token_bounds > planner.longest_whole_text)
        are_whole = (~reduce_groups(np.logical_or, unfit, offsets)).tolist()
        queries = cast("list[str]", [query or "" for query in batch.queries])
        sent = [
            planner.sent_query(query) if is_whole and query.strip() else (None, 0)
            for query, is_whole in zip(queries, are_whole, strict=True)
        ]
        self.query_tokens = [count for _, count in sent]
        self._query_lengths = np.array([len(query) for query in queries])
        weights = planner.packer.weights(measures.token_bounds, measures.sizes)
        self.request_tokens = self._request_tokens(
            planner,
            batch,
            is_sent=np.array([query == cut for query, (cut, _) in zip(queries, sent, strict=True)]),
            tokens=reduce_groups(np.add, weights, offsets),
            body_bytes=reduce_groups(np.add, most_body_bytes(measures.sizes), offsets),
        )
        self.search_units = self._search_units(planner, batch, weights)

    def _search_units(self, planner: Planner, batch: GroupBatch, weights: IntArray) -> list[int]:
        profile = planner.settings.profile
        if profile.search_units is None:
            return [0] * batch.num_groups
        query_weights = planner.query_weights(np.array(self.query_tokens), self._query_lengths)
        chunks = count_chunks(
            profile.search_units,
            np.repeat(query_weights, np.diff(batch.offsets)),
            np.minimum(weights, profile.max_tokens_per_document),
        )
        of_groups = reduce_groups(np.add, chunks, batch.offsets)
        units: list[int] = count_search_units(profile.search_units, of_groups).tolist()
        return units

    def _request_tokens(
        self,
        planner: Planner,
        batch: GroupBatch,
        *,
        is_sent: BoolArray,
        tokens: IntArray,
        body_bytes: IntArray,
    ) -> list[int | None]:
        query_lengths = self._query_lengths
        pair_tokens = planner.pair_tokens(np.array(self.query_tokens), query_lengths)
        sizes, limits = np.diff(batch.offsets), planner.request_limits("", 0)
        request_tokens = sizes * pair_tokens + tokens
        request_bytes = limits.query_bytes + most_body_bytes(MAX_UTF8 * query_lengths) + body_bytes
        fits = (
            is_sent
            & (sizes > 0)
            & (sizes <= limits.max_documents)
            & (request_tokens <= limits.max_tokens)
            & (request_bytes <= limits.max_bytes)
        )
        both = zip(request_tokens.tolist(), fits.tolist(), strict=True)
        return [tokens_of_one if fits_one else None for tokens_of_one, fits_one in both]


def order_within_groups(values: NDArray[Any], sizes: IntArray) -> IntArray:
    """Return the indices that sort values within adjacent groups; equal values keep their order.

    Args:
        values: One per row.
        sizes: int64, the number of rows of each group; at least one group.
    """
    if sizes[0] and (sizes == sizes[0]).all():  # common: the first stage's top 100 of every query
        by_group = np.argsort(values.reshape(len(sizes), -1), axis=1, kind="stable")
        firsts: IntArray = np.cumsum(sizes) - sizes
        return (by_group + firsts[:, np.newaxis]).ravel()
    return np.lexsort((values, np.repeat(np.arange(len(sizes)), sizes)))
