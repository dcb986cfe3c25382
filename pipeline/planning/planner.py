"""Plans what is sent for a group: which rows, how much of each text, and in which requests.

A plan is a pure function of the group, the settings and the vocabulary.
"""

from typing import Final

import numpy as np
import orjson
from msgspec.structs import replace
from xxhash import xxh3_128_digest

from pipeline.core.arrays import IntArray
from pipeline.core.groups import Group
from pipeline.core.records import Reject
from pipeline.core.settings import MAX_REQUEST_BYTES, RunSettings
from pipeline.planning.packing import RequestLimits, pack
from pipeline.planning.plan import PackedUnits, Plan
from pipeline.planning.units import (
    NOT_SENT,
    Units,
    choose_documents,
    cut_long,
    renumbered,
    split_long,
    whole_units,
)
from pipeline.tokens.count_cache import RememberingCounter
from pipeline.tokens.counter import TokenCounter
from pipeline.tokens.policies import POLICIES

BYTES_PER_DOCUMENT: Final = 32
"""What stands round a text in a body: quotes, comma, perhaps a field's name."""
BYTES_PER_REQUEST: Final = 4_096
"""What stands in a body besides: the model, names of fields."""
MAX_ESCAPE: Final = 6
"""JSON writes a control character, one byte of UTF-8, as six (RFC 8259 section 7)."""
MAX_UTF8: Final = 4
"""Bytes of a character."""


class Planner:
    """Plans groups by the settings of a run; may be shared by threads.

    Args:
        settings: Model, limits, and what becomes of long documents.
        counter: Counts tokens; by default one that remembers counts.
    """

    def __init__(self, settings: RunSettings, counter: TokenCounter | None = None) -> None:
        self.settings = settings
        self.counter = counter or RememberingCounter()
        self._policy = POLICIES[settings.profile.tokenizer]
        self._cut_at = settings.profile.max_tokens_per_document * self._policy.cut_factor
        self._splits = settings.long_documents == "max-passage"
        self._needs_anchors = settings.merge == "auto"
        self._scope = settings.score_scope()
        # Whether the service counts the instruction is not documented; with it is the safe side.
        instruct = settings.instruct
        self._instruct_tokens = self.counter.count(instruct) if instruct else 0

    @property
    def longest_whole_text(self) -> int:
        """Qwen tokens up to which a text is certainly sent whole, as one unit."""
        if self._splits:
            return int(self.settings.profile.max_tokens_per_document / self._policy.ratio)
        return self._cut_at

    def scope(self, query: str) -> bytes:
        """16 bytes that name the query, and all else that a score depends on but the documents."""
        return xxh3_128_digest(self._scope + query.encode())

    def plan(self, group: Group) -> Plan:
        """Decide what is sent for a group.

        Rows without a text, or of a group without a query, are not sent (`no_text`, `no_query`);
        nor are those that with this query fit no request alone (`query_too_long`).
        """
        rejects, document_of_row, rows = choose_documents(group)
        units = self._units(group, rows)
        query, query_tokens = self.sent_query(group.query or "")
        limits = self.request_limits(query, query_tokens)
        # Sizes that were refused are held against exact counts, so where there are some, all are.
        weights = self.weights(units.tokens, units.sizes)
        if units.exact.any() or (len(units) and not _suffice(weights, limits)):
            query_tokens = self.counter.count(query)
            limits = self.request_limits(query, query_tokens)
            units = self._settled(units, limits)
        weights, sizes = self.weights(units.tokens, units.sizes), _body_sizes(units, limits)
        too_large = (weights > _tokens_alone(limits)) | (sizes > _bytes_alone(limits))
        if too_large.any():
            lost = np.isin(units.documents, units.documents[too_large])
            units, weights, sizes = units.take(np.flatnonzero(~lost)), weights[~lost], sizes[~lost]
            lost_rows = (document_of_row != NOT_SENT) & ~np.isin(document_of_row, units.documents)
            rejects += [Reject(row, "query_too_long") for row in np.flatnonzero(lost_rows).tolist()]
            document_of_row[lost_rows] = NOT_SENT
            units, document_of_row = renumbered(units, document_of_row)
        # The service cuts what is over the limit and has no safe place to be cut at before.
        cut = units.tokens > self._cut_at
        if units.own_texts and not self._splits:
            cut[list(units.own_texts)] = True
        return Plan(
            group=group,
            settings=self.settings,
            query=query,
            scope=self.scope(group.query or ""),
            query_cut=query != (group.query or ""),
            num_truncated=int(np.isin(document_of_row, units.documents[cut]).sum())
            if cut.any()
            else 0,
            rejects=rejects,
            packed=PackedUnits(
                units,
                document_of_row,
                pack(weights, sizes, limits, anchors=self._needs_anchors),
            ),
        )

    def pack_group(self, group: Group) -> PackedUnits:
        """The units of a group and their packing alone."""
        packed = self.plan(group).packed
        assert packed is not None
        return packed

    def repack(self, plan: Plan) -> Plan:
        """The plan in more requests: within half of its limits, and half again if that is not less.

        A document that is larger than that has a request to itself; only the service can tell
        that it is too large. Some request of `plan` must hold several documents.
        """
        divisor, query_tokens = plan.divisor, self.counter.count(plan.query)
        while True:
            divisor *= 2
            limits = self.request_limits(plan.query, query_tokens, divisor=divisor)
            units = self._settled(plan.units, limits)
            weights, sizes = self.weights(units.tokens, units.sizes), _body_sizes(units, limits)
            limits = replace(
                limits,
                max_tokens=limits.max_tokens + max(0, int(weights.max()) - _tokens_alone(limits)),
                max_bytes=limits.max_bytes + max(0, int(sizes.max()) - _bytes_alone(limits)),
            )
            packing = pack(weights, sizes, limits, anchors=self._needs_anchors)
            if len(packing.homes) > len(plan.packing.homes):
                packed = PackedUnits(units, plan.document_of_row, packing)
                return replace(plan, packed=packed, single_request=None, divisor=divisor)

    def sent_query(self, query: str) -> tuple[str, int]:
        """The query as it is sent, and its Qwen tokens, at most: to count them is rarely needed."""
        if len(query) <= self._cut_at // 4:  # no character has more tokens than that
            return query, len(query) if query.isascii() else self.counter.count(query)
        return self.counter.truncate(query, self._cut_at)

    def request_limits(self, query: str, query_tokens: int, *, divisor: int = 1) -> RequestLimits:
        """What one request of this query may hold, in the model's own tokens."""
        profile, policy, instruct = self.settings.profile, self._policy, self.settings.instruct
        return RequestLimits(
            max_documents=max(1, profile.max_documents // divisor),
            max_tokens=max(1, int(policy.fill * profile.max_tokens_per_request) // divisor),
            max_bytes=MAX_REQUEST_BYTES // divisor,
            query_tokens=policy.query_weight(query_tokens, len(query)),
            pair_overhead=policy.pair_overhead + self._instruct_tokens,
            query_bytes=len(orjson.dumps((query, instruct))) + BYTES_PER_REQUEST,
        )

    def pair_tokens(self, query_tokens: IntArray, query_lengths: IntArray) -> IntArray:
        """Tokens of a document beside its own, by its query's Qwen tokens and length."""
        weights = self._policy.document_weights(query_tokens, query_lengths)
        return weights + (self._policy.pair_overhead + self._instruct_tokens)

    def _units(self, group: Group, rows: IntArray) -> Units:
        """The units of the documents at `rows`; texts over the per-item limit are cut or split."""
        units = whole_units(group, rows)
        if self._splits:
            max_tokens = self.settings.profile.max_tokens_per_document / self._policy.ratio
            return split_long(units, self.counter, int(max_tokens))
        return cut_long(units, self.counter, self._cut_at)

    def weights(self, tokens: IntArray, sizes: IntArray) -> IntArray:
        """Tokens in the model's own count, at most, of texts of so many Qwen tokens and bytes."""
        # Bytes are never fewer than code points, which is all that the policy asks of them.
        return self._policy.document_weights(tokens, sizes)

    def _settled(self, units: Units, limits: RequestLimits) -> Units:
        """The units with their tokens counted, as far as the packing needs it."""
        if _suffice(self.weights(units.tokens, units.sizes), limits):
            return units
        open_units = np.flatnonzero(~units.exact)
        budget = self._policy.documents_budget(limits.max_tokens, len(units), limits.pair_tokens)
        settled = self.counter.settle(
            units.texts(open_units),
            units.tokens[open_units],
            budget=budget - int(units.tokens[units.exact].sum()),
            cap=self._cut_at,
        )
        tokens, exact = units.tokens.copy(), units.exact.copy()
        tokens[open_units] = settled.weights
        all_counted = self.counter.exact_available and not settled.fits
        exact[open_units] = all_counted | (settled.weights < units.tokens[open_units])
        return replace(units, tokens=tokens, exact=exact)


def _suffice(weights: IntArray, limits: RequestLimits) -> bool:
    """Whether counts, which are lower, could not make fewer requests than these weights do."""
    total = int(weights.sum()) + len(weights) * limits.pair_tokens
    by_tokens, by_documents = (
        -(-total // limits.max_tokens),
        -(-len(weights) // limits.max_documents),
    )
    return by_tokens <= 1 or (
        by_tokens < by_documents and int(weights.max()) <= _tokens_alone(limits)
    )


def _tokens_alone(limits: RequestLimits) -> int:
    """Tokens that a document may have which has a request to itself."""
    return limits.max_tokens - limits.pair_tokens


def _bytes_alone(limits: RequestLimits) -> int:
    """Bytes that a document may take which has a request to itself."""
    return limits.max_bytes - limits.query_bytes


def most_body_bytes(sizes: IntArray) -> IntArray:
    """Bytes that texts of these sizes take in a body, at most."""
    return MAX_ESCAPE * sizes + BYTES_PER_DOCUMENT


def _body_sizes(units: Units, limits: RequestLimits) -> IntArray:
    """Bytes that the units take in a body, at most; exact where the limit is anywhere near."""
    most = most_body_bytes(units.sizes)
    if int(most.sum()) <= _bytes_alone(limits):
        return most
    texts = units.texts(np.arange(len(units)))
    exact = [len(orjson.dumps(text)) + BYTES_PER_DOCUMENT for text in texts]
    return np.array(exact, dtype=np.int64)
