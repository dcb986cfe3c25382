"""Requests, their scores, and the rankings made of them.

Everything here is a value: built once, never changed, safe to share between tasks and threads.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import orjson
from msgspec import Struct, field
from msgspec.structs import force_setattr

from pipeline.core.arrays import FloatArray, IntArray, KeyArray, RankArray
from pipeline.core.content import Content
from pipeline.core.groups import GroupOutput, Id
from pipeline.core.json_texts import JsonTexts

MergeStatus: TypeAlias = Literal[
    "single_request",
    "comparable",
    "trusted",
    "linked_affine",
    "linked_rank",
    "unstable",
    "incomplete",
    "empty",
]
"""How the scores of a group's requests were joined; see `pipeline.ranking.merging.merge`."""

Reason: TypeAlias = Literal[
    "no_text",
    "no_query",
    "query_too_long",
    "refused_document",
    "refused_request",
    "bad_answer",
    "unavailable",
    "missing_text",
]
"""Why a candidate has no score."""

SKIPPED_REASONS: frozenset[Reason] = frozenset({"no_text", "no_query", "missing_text"})
"""Reasons of candidates that have nothing to score and are never sent: no failures."""


class Request(Struct, frozen=True, eq=False):
    """A query and documents that are scored together.

    Attributes:
        query: As it is sent.
        documents: As they are sent, in this order.
        tokens: Upper bound of query_tokens x documents + sum(document_tokens), for pace and cost.
        key: Digest of the query, the documents, and all else that the scores depend on.
        scope: Digest of the same without the documents.
        query_id: For the logs, which never show a text.
        image_tokens: Upper bound of those of `tokens` that are tokens of images and videos.
        search_units: Upper bound of its search units; 0 where they are not counted, as for a
            few short documents.
    """

    query: Content
    documents: Sequence[Content]
    tokens: int
    key: bytes
    scope: bytes
    query_id: Id
    image_tokens: int = 0
    search_units: int = 0

    @property
    def num_documents(self) -> int:
        """The number of documents."""
        return len(self.documents)

    @property
    def encodable_documents(self) -> object:
        """The documents as orjson encodes them; those that are encoded already stay so."""
        documents = self.documents
        if isinstance(documents, JsonTexts):
            return orjson.Fragment(documents.json)
        return list(documents)


class Scores(Struct, frozen=True, eq=False):
    """The service's answer to one request.

    Attributes:
        scores: One finite number per document, in the request's order, unchanged.
        total_tokens: The count that the service states, even if it is impossible; None if it states
            none.
        response_id: The service's id of the answer, for support cases.
        search_units: What the service billed; None if it bills by tokens, or does not say.
    """

    scores: FloatArray
    total_tokens: int | None = None
    response_id: str = ""
    search_units: int | None = None


class Reject(Struct, frozen=True):
    """Why one candidate has no score; `row` counts in the group's input order."""

    row: int
    reason: Reason
    code: str = ""
    message: str = ""

    @property
    def skipped(self) -> bool:
        """Whether the candidate had nothing to score, which is no failure."""
        return self.reason in SKIPPED_REASONS


class Ranking(Struct, frozen=True, eq=False):
    """A group's candidates in their new order, and how that order came about.

    Candidates are ordered by descending score, equal scores by first-stage rank, equal ranks by
    `tie_break`; those without a score come last. The order is computed when it is first read, or
    for many rankings at once by `pipeline.ranking.sort_batch`.

    Attributes:
        group: What is ranked.
        row_scores: float64, one per row of the group, in input order; NaN where there is no score.
        merge_status: How the scores of the group's requests were joined.
        tie_break: One number per row; None where the rows are in ascending first-stage order.
        certified_depth: How many places from the top are proved.
        num_requests: Requests that the ranking is made of.
        total_tokens: Their tokens, as the service counted them.
        num_truncated: Candidates whose text was cut at the per-item limit.
        rejects: One for each candidate without a score, by row.
        documents_reused: Documents whose scores are those of an earlier request, by partial reuse.
        saved_tokens: Tokens of the whole group less those of the requests sent, by partial reuse.
    """

    group: GroupOutput
    row_scores: FloatArray
    merge_status: MergeStatus
    tie_break: IntArray | KeyArray | None = None
    certified_depth: int = 0
    num_requests: int = 0
    total_tokens: int = 0
    num_truncated: int = 0
    rejects: tuple[Reject, ...] = field(default=())
    documents_reused: int = 0
    saved_tokens: int = 0
    _order: IntArray | None = None

    @property
    def order(self) -> IntArray:
        """int64, rows of the group, best first; every row once, those without a score last."""
        if self._order is None:
            self.keep_order(
                rows_by_score(self.row_scores, self.group.first_stage_rank, self.tie_break)
            )
        assert self._order is not None
        return self._order

    @property
    def scores(self) -> FloatArray:
        """float64 along `order`, never increasing; NaN where there is no score."""
        return self.row_scores[self.order]

    @property
    def needs_sorting(self) -> bool:
        """Whether the order is still to be computed, from the scores alone."""
        return self._order is None and self.tie_break is None

    def keep_order(self, order: IntArray) -> None:
        """Keep the order once it is computed; it must be the one that `rows_by_score` returns."""
        force_setattr(self, "_order", order)

    @property
    def num_skipped(self) -> int:
        """The number of candidates with nothing to score."""
        return sum([reject.skipped for reject in self.rejects])

    @property
    def num_rejected(self) -> int:
        """The number of candidates that should have a score and have none."""
        return len(self.rejects) - self.num_skipped


def rows_by_score(
    scores: FloatArray, ranks: RankArray, tie_break: IntArray | KeyArray | None
) -> IntArray:
    """Return the rows in the order of a `Ranking`: best first, NaN last.

    Args:
        scores: float64, one per row.
        ranks: int32, the first-stage rank of each row.
        tie_break: One number per row; None where `ranks` ascend.
    """
    if tie_break is None:
        return np.argsort(-scores, kind="stable")
    return np.lexsort((tie_break, ranks, -scores))
