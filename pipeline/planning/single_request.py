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
from msgspec.structs import replace
from numpy.typing import NDArray

from pipeline.core.arrays import BoolArray, IntArray
from pipeline.core.billing import SearchUnits
from pipeline.core.groups import Group, GroupBatch, TextMeasures, reduce_groups
from pipeline.core.records import Request
from pipeline.planning.body_bytes import MAX_UTF8, most_body_bytes
from pipeline.planning.json_columns import encode_lists
from pipeline.planning.plan import Plan, SingleRequest, joined_request_key
from pipeline.planning.planner import Planner
from pipeline.planning.search_units import count_chunks, count_search_units
from pipeline.tokens.bounds import upper_bounds
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
    sizes = np.diff(batch.offsets)
    fitting = _Fitting(planner, batch, measures)
    if not fitting.fits.all():
        # Bounds by bytes, which are nearly free, are too loose for some.
        tight = upper_bounds(batch.texts)
        bounds = np.where(np.repeat(fitting.fits, sizes), measures.token_bounds, tight)
        fitting = _Fitting(planner, batch, replace(measures, token_bounds=bounds))
    scopes = [planner.scope(query or "") for query in batch.queries]
    salts = [planner.order_salt(query or "") for query in batch.queries]
    mixed = measures.content_hashes ^ np.repeat(np.array(salts, np.uint64), sizes)
    order = order_within_groups(mixed, sizes)
    mixed = mixed[order]
    repeats = (np.diff(mixed, prepend=mixed[:1] + 1) == 0) & ~fitting.begins
    distinct = ~reduce_groups(np.logical_or, repeats, batch.offsets)
    rows = order - np.repeat(batch.offsets[:-1], sizes)
    fits = fitting.fits & distinct
    # Only the texts that are sent are copied: a group that does not fit may be huge.
    sent = batch.texts.take(order[np.repeat(fits, sizes)])
    borders = np.append(0, np.cumsum(sizes[fits]))
    documents = encode_lists(sent, borders)
    text_borders, octets = text_offsets(sent), text_bytes(sent)
    text_sizes, starts = np.diff(text_borders), batch.offsets.tolist()
    groups = list(batch.iter_groups(measures))
    plans: list[Plan | None] = [None] * len(groups)
    for index, texts, (first, last) in zip(
        np.flatnonzero(fits).tolist(), documents, pairwise(borders.tolist()), strict=True
    ):
        group, scope = groups[index], scopes[index]
        query = cast("str", group.query)
        contents = octets[text_borders[first] : text_borders[last]]
        request = Request(
            query=query,
            documents=texts,
            tokens=fitting.request_tokens[index],
            key=joined_request_key(scope, text_sizes[first:last], contents),
            scope=scope,
            query_id=group.query_id,
            search_units=fitting.search_units[index],
        )
        rows_of_group = rows[starts[index] : starts[index + 1]]
        plans[index] = Plan(
            group=group,
            settings=planner.settings,
            query=query,
            query_tokens=fitting.query_tokens[index],
            scope=scope,
            order_salt=salts[index],
            accepts=planner.accepts,
            single_request=SingleRequest(request, rows_of_group, fitting.ranks_ascend[index]),
            pack=planner.pack_group,
        )
    return BatchPlans(planner, groups, plans)


class _Fitting:
    """Which groups of a batch fit one request unchanged; one element per group.

    Attributes:
        begins: Whether a row is the first of its group; one element per row.
        ranks_ascend: Whether the first stage's ranks ascend along the rows.
        query_tokens: Upper bound of the query's Qwen tokens; 0 for a group that does not fit.
        request_tokens: Upper bound of the group's tokens as one request.
        fits: Whether the group fits one request.
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
            planner.sent_query(query, loose=True) if is_whole and query.strip() else (None, 0)
            for query, is_whole in zip(queries, are_whole, strict=True)
        ]
        self.query_tokens = [count for _, count in sent]
        self._query_lengths = np.array([len(query) for query in queries])
        weights = planner.packer.weights(measures.token_bounds, measures.sizes)
        tokens, self.fits = self._request_tokens(
            planner,
            batch,
            is_sent=np.array([query == cut for query, (cut, _) in zip(queries, sent, strict=True)]),
            tokens=reduce_groups(np.add, weights, offsets),
            body_bytes=reduce_groups(np.add, most_body_bytes(measures.sizes), offsets),
        )
        self.request_tokens: list[int] = tokens.tolist()
        self.search_units = [0] * batch.num_groups
        if (rule := planner.settings.profile.search_units) is not None:
            self.search_units = self._search_units(rule, planner, batch, weights)

    def _search_units(
        self, rule: SearchUnits, planner: Planner, batch: GroupBatch, weights: IntArray
    ) -> list[int]:
        query_weights = planner.query_weights(np.array(self.query_tokens), self._query_lengths)
        chunks = count_chunks(
            rule,
            np.repeat(query_weights, np.diff(batch.offsets)),
            np.minimum(weights, planner.settings.profile.max_tokens_per_document),
        )
        of_groups = reduce_groups(np.add, chunks, batch.offsets)
        units: list[int] = count_search_units(rule, of_groups).tolist()
        return units

    def _request_tokens(
        self,
        planner: Planner,
        batch: GroupBatch,
        *,
        is_sent: BoolArray,
        tokens: IntArray,
        body_bytes: IntArray,
    ) -> tuple[IntArray, BoolArray]:
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
        return request_tokens, fits


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
