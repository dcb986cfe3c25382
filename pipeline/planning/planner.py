"""Plan a group: which rows are sent, how much of each text, and in which requests.

A plan is a pure function of the group, the settings and the vocabulary.
"""

import numpy as np
from msgspec.structs import replace
from xxhash import xxh3_128_digest

from pipeline.core.arrays import IntArray
from pipeline.core.content import Content, ContentKind, digest, identity
from pipeline.core.groups import Group, GroupBatch, TextMeasures
from pipeline.core.records import Reject
from pipeline.core.settings import MAX_REQUEST_BYTES, RunSettings
from pipeline.planning.body_bytes import body_bytes, query_body_bytes
from pipeline.planning.kinds import PlacesByKind
from pipeline.planning.media_measures import measure_batch, media_tokens
from pipeline.planning.plan import PackedUnits, Plan
from pipeline.planning.request_limits import RequestLimits
from pipeline.planning.unit_packer import UnitPacker
from pipeline.planning.units import (
    NOT_SENT,
    Units,
    choose_documents,
    cut_long,
    renumbered,
    split_long,
    whole_units,
)
from pipeline.tokens.bounds import upper_bounds
from pipeline.tokens.byte_bounds import byte_bound
from pipeline.tokens.count_cache import CachedCounter
from pipeline.tokens.counter import Counter
from pipeline.tokens.policies import POLICIES


class Planner:
    """Plans groups by the settings of a run; threads may share it.

    Args:
        settings: Model, limits, and what to do with long documents.
        counter: Counts tokens; by default with a cache.
        accepts: The kinds of content that the service scores; by default those of the model.

    Attributes:
        packer: Counts and packs the units of a group.
    """

    def __init__(
        self,
        settings: RunSettings,
        counter: Counter | None = None,
        *,
        accepts: frozenset[ContentKind] | None = None,
    ) -> None:
        self.settings = settings
        self.counter = counter or CachedCounter()
        self.accepts = settings.profile.accepts if accepts is None else accepts
        self._policy = POLICIES[settings.profile.tokenizer]
        self._cut_at = settings.profile.max_tokens_per_document * self._policy.cut_factor
        self._splits = settings.long_documents == "max-passage"
        self.packer = UnitPacker(
            self._policy, self.counter, cut_at=self._cut_at, anchors=settings.merge == "auto"
        )
        self._scope = settings.score_scope()
        # Whether the service counts the instruction is not documented; counting it is safe.
        instruct = settings.instruct
        self._instruct_tokens = self.counter.count(instruct) if instruct else 0

    @property
    def longest_whole_text(self) -> int:
        """Qwen tokens of a text that is certainly sent whole, as one unit."""
        if self._splits:
            return int(self.settings.profile.max_tokens_per_document / self._policy.ratio)
        return self._cut_at

    def scope(self, query: Content) -> bytes:
        """Return the digest of a query and all else that scores depend on but the documents."""
        return digest(self._scope + identity(query))

    def order_salt(self, query: Content) -> int:
        """Return 64 bits by which the documents of a query are ordered; see `sending_order`."""
        return int.from_bytes(xxh3_128_digest(self._scope + identity(query))[:8], "little")

    def measure(self, batch: GroupBatch) -> TextMeasures:
        """Return the measures of what a batch holds."""
        cap = self.settings.profile.max_tokens_per_document
        return measure_batch(batch, max_tokens=cap)

    def plan(self, group: Group) -> Plan:
        """Return the plan of a group.

        Rows without a text, or of a group without a query, are not sent (`no_text`, `no_query`,
        and `missing_text` if it was looked for elsewhere).
        Neither are rows that do not fit a request alone with this query (`query_too_long`).
        """
        rejects, document_of_row, rows = choose_documents(
            group, nulls_are_missing=self.settings.preparation.missing == "skip"
        )
        units, whole_query = self._units(group, rows), group.query or ""
        query, query_tokens = self.sent_query(whole_query)
        kinds = PlacesByKind.of(self.settings.profile, units)
        limits = kinds.scale(self.request_limits(query, query_tokens))
        # With exact counts of its documents a request is compared with refused sizes, so the
        # query's count must then be exact too; documents of several requests may be counted below.
        if (
            units.exact.any()
            or len(units) > limits.max_documents
            or not self.packer.suffice(units, limits)
        ):
            if isinstance(query, str):
                query_tokens = self.counter.count(query)
            limits = kinds.scale(self.request_limits(query, query_tokens))
            units = self.packer.settled(units, limits)
        weights = self.packer.weights(units.tokens, units.sizes)
        sizes = body_bytes(units, limits.bytes_alone)
        too_large = (weights > limits.tokens_alone) | (sizes > limits.bytes_alone)
        if too_large.any():
            lost = np.isin(units.documents, units.documents[too_large])
            units, sizes = units.take(np.flatnonzero(~lost)), sizes[~lost]
            lost_rows = (document_of_row != NOT_SENT) & ~np.isin(document_of_row, units.documents)
            rejects += [Reject(row, "query_too_long") for row in np.flatnonzero(lost_rows).tolist()]
            document_of_row[lost_rows] = NOT_SENT
            units, document_of_row = renumbered(units, document_of_row)
        # A text over the limit without a safe place for a cut is left to the service to cut.
        cut = units.tokens > self._cut_at
        if units.own_contents and not self._splits:
            cut[list(units.own_contents.keys() - units.media.keys())] = True
        units, packing = self.packer.packed(units, sizes, limits, kinds.places(units))
        return Plan(
            group=group,
            settings=self.settings,
            query=query,
            query_tokens=query_tokens,
            scope=self.scope(whole_query),
            order_salt=self.order_salt(whole_query),
            query_cut=query != whole_query,
            num_truncated=int(np.isin(document_of_row, units.documents[cut]).sum()),
            rejects=rejects,
            accepts=self.accepts,
            packed=PackedUnits(units, document_of_row, packing),
        )

    def pack_group(self, group: Group) -> PackedUnits:
        """Return the units of a group and their packing, without the rest of the plan."""
        packed = self.plan(group).packed
        assert packed is not None
        return packed

    def repack(self, plan: Plan) -> Plan:
        """Return the plan in more requests, within half of its limits or the first smaller part.

        A document that is larger than the limits has a request of its own: only the service can
        tell that it is too large. At least one request of `plan` must hold several documents.
        """
        divisor, query_tokens = plan.divisor, self.exact_query_tokens(plan)
        while True:
            divisor *= 2
            kinds = PlacesByKind.of(self.settings.profile, plan.units)
            limits = self.request_limits(plan.query, query_tokens, divisor=divisor)
            limits = kinds.scale(limits, divisor)
            units = self.packer.settled(plan.units, limits)
            weights, sizes = (
                self.packer.weights(units.tokens, units.sizes),
                body_bytes(units, limits.bytes_alone),
            )
            limits = replace(
                limits,
                max_tokens=limits.max_tokens + max(0, int(weights.max()) - limits.tokens_alone),
                max_bytes=limits.max_bytes + max(0, int(sizes.max()) - limits.bytes_alone),
            )
            units, packing = self.packer.packed(units, sizes, limits, kinds.places(units))
            if len(packing.homes) > len(plan.packing.homes):
                packed = PackedUnits(units, plan.document_of_row, packing)
                return replace(plan, packed=packed, single_request=None, divisor=divisor)

    def exact_query_tokens(self, plan: Plan) -> int:
        """Return the tokens of a plan's query: counted, if it is a text."""
        query = plan.query
        return self.counter.count(query) if isinstance(query, str) else plan.query_tokens

    def exact_tokens(self, plan: Plan) -> tuple[int, IntArray] | None:
        """Return the tokens of a plan's query and of each of its units: counted, not bounded.

        None if the model has another tokenizer, or the vocabulary is missing. Takes a few
        milliseconds for a hundred documents.
        """
        if self.settings.profile.tokenizer != "qwen" or not self.counter.exact_available:
            return None
        tokens, bounded = plan.units.tokens.copy(), np.flatnonzero(~plan.units.exact)
        tokens[bounded] = self.counter.counts(plan.units.texts(bounded))
        return self.exact_query_tokens(plan) + self._instruct_tokens, tokens

    def single_request_tokens(self, group: Group) -> int:
        """Return the upper bound of a group's tokens that `plan` computes, without packing it.

        Args:
            group: It fits one request unchanged, by looser bounds.
        """
        query, query_tokens = self.sent_query(group.query or "")
        limits = self.request_limits(query, query_tokens)
        weights = self.packer.weights(upper_bounds(group.texts), group.measures.sizes)
        return len(weights) * limits.pair_tokens + int(weights.sum())

    def sent_query(self, query: Content, *, loose: bool = False) -> tuple[Content, int]:
        """Return the query as it is sent, and its Qwen tokens: counted, or bounded if it is ASCII.

        Args:
            query: The query; neither null nor blank.
            loose: Whether a bound is enough for any text, which needs no vocabulary.
        """
        if not isinstance(query, str):
            cap = self.settings.profile.max_tokens_per_document
            return query, min(media_tokens(query), cap)
        if len(query) <= self._cut_at // 4:  # a character has at most 4 tokens
            bound = byte_bound(query) if loose or query.isascii() else None
            return query, self.counter.count(query) if bound is None else bound
        return self.counter.truncate(query, self._cut_at)

    def request_limits(
        self, query: Content, query_tokens: int, *, divisor: int = 1
    ) -> RequestLimits:
        """Return what one request of this query may hold, in the model's own tokens."""
        profile, policy = self.settings.profile, self._policy
        num_characters = len(query) if isinstance(query, str) else query_tokens
        return RequestLimits(
            max_documents=max(1, profile.max_documents // divisor),
            max_tokens=int(policy.fill * profile.max_tokens_per_request) // divisor,
            max_bytes=MAX_REQUEST_BYTES // divisor,
            query_tokens=policy.query_weight(query_tokens, num_characters),
            pair_overhead=policy.pair_overhead + self._instruct_tokens,
            query_bytes=query_body_bytes(query, self.settings.instruct),
        )

    def pair_tokens(self, query_tokens: IntArray, query_lengths: IntArray) -> IntArray:
        """Return the tokens of a pair besides those of the document.

        Args:
            query_tokens: int64, Qwen tokens of each query.
            query_lengths: int64, characters of each query.
        """
        weights = self.query_weights(query_tokens, query_lengths)
        return weights + (self._policy.pair_overhead + self._instruct_tokens)

    def query_weights(self, query_tokens: IntArray, query_lengths: IntArray) -> IntArray:
        """Return the tokens of queries in the model's own count, as `request_limits` does."""
        return self._policy.document_weights(query_tokens, query_lengths)

    def _units(self, group: Group, rows: IntArray) -> Units:
        """Return the units of the documents at `rows`; texts over the limit are cut or split."""
        units = whole_units(group, rows)
        if self._splits:
            max_tokens = self.settings.profile.max_tokens_per_document / self._policy.ratio
            return split_long(units, self.counter, int(max_tokens))
        return cut_long(units, self.counter, self._cut_at)
