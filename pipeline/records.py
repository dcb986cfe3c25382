"""The frozen values that flow through the job: groups, requests, scores, rankings.

Everything here is a value: built once, never changed, and safe to hand between tasks and threads.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

FIRST_RANK = 1
"""The rank of the best candidate, in input and output."""

IntArray: TypeAlias = npt.NDArray[np.int64]
KeyArray: TypeAlias = npt.NDArray[np.uint64]
FloatArray: TypeAlias = npt.NDArray[np.float64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Id: TypeAlias = str | int

MergeStatus: TypeAlias = Literal[
    "single_request",
    "comparable",
    "linked_affine",
    "linked_rank",
    "unstable",
    "incomplete",
    "empty",
]
"""How a group's ranking came about; the README's table tells what each promises."""

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

SKIPPED_REASONS: frozenset[Reason] = frozenset({"no_text", "no_query"})
"""Candidates that are never sent: there is nothing to score, so they are not failures."""


@dataclass(frozen=True, slots=True, eq=False)
class TextMeasures:
    """What packing must know of texts, one element per text, in the texts' order.

    Attributes:
        token_bounds: Upper bound of the token count, never too small.
        sizes: Bytes of the UTF-8 text.
        keys: 64-bit hash of the text's bytes; equal texts have equal keys.
        blank: Null, empty or white space alone: never sent.
    """

    token_bounds: IntArray
    sizes: IntArray
    keys: KeyArray
    blank: BoolArray

    def slice(self, start: int, stop: int) -> "TextMeasures":
        """The measures of the texts `start` to `stop`, without a copy."""
        return TextMeasures(
            self.token_bounds[start:stop],
            self.sizes[start:stop],
            self.keys[start:stop],
            self.blank[start:stop],
        )


# Empty slices would do, but a slice keeps the memory of the whole.
_NO_TEXTS = pa.array([], pa.large_string())
_NO_MEASURES = TextMeasures(
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint64), np.empty(0, np.bool_)
)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """One query and all its candidates, in input order.

    Attributes:
        index: Place of the group in the dataset, from 0.
        first_row: Place of its first candidate in the dataset, from 0.
        query_id: The query's id, of the input's type.
        query: The query's text; null or blank is never sent.
        texts: The candidates' texts, null where there is none.
        first_stage_rank: int32, the first stage's order, from 1.
        rows: What goes to the output unchanged: `query_id`, `doc_id`, passed-through columns.
        measures: What packing must know of the texts.
        num_dropped: Rows of the input left out because they repeat a doc_id.
    """

    index: int
    first_row: int
    query_id: Id
    query: str | None
    texts: pa.LargeStringArray
    first_stage_rank: npt.NDArray[np.int32]
    rows: pa.Table
    measures: TextMeasures
    num_dropped: int = 0

    @property
    def num_candidates(self) -> int:
        """How many candidates the group has, duplicates and blank ones included."""
        return len(self.first_stage_rank)

    def without_texts(self) -> "Group":
        """The same group for the output alone, which lets go of the memory of its texts."""
        return replace(self, texts=_NO_TEXTS, measures=_NO_MEASURES)


@dataclass(frozen=True, slots=True, eq=False)
class GroupBatch:
    """Whole groups that were read together, in input order; they share memory.

    Attributes:
        first_group: Index of the first group in the dataset.
        first_row: Row of the first candidate in the dataset.
        offsets: int64 [number of groups + 1]; group g holds the rows offsets[g] to offsets[g + 1].
        query_ids: One per group.
        queries: One per group.
        texts: One per candidate.
        first_stage_rank: int32, one per candidate.
        rows: One row per candidate, the columns that go to the output unchanged.
        dropped: Rows of the input left out of each group; None where all are kept.
    """

    first_group: int
    first_row: int
    offsets: IntArray
    query_ids: list[Id]
    queries: list[str | None]
    texts: pa.LargeStringArray
    first_stage_rank: npt.NDArray[np.int32]
    rows: pa.Table
    dropped: IntArray | None = None

    @property
    def num_groups(self) -> int:
        """How many groups the batch holds."""
        return len(self.query_ids)

    def iter_groups(self, measures: TextMeasures) -> Iterator[Group]:
        """Yield the groups in input order, each with its slice of `measures`."""
        before = 0
        for number, (query_id, query) in enumerate(zip(self.query_ids, self.queries, strict=True)):
            start, stop = int(self.offsets[number]), int(self.offsets[number + 1])
            dropped = 0 if self.dropped is None else int(self.dropped[number])
            yield Group(
                index=self.first_group + number,
                first_row=self.first_row + before + start,
                query_id=query_id,
                query=query,
                texts=self.texts.slice(start, stop - start),
                first_stage_rank=self.first_stage_rank[start:stop],
                rows=self.rows.slice(start, stop - start),
                measures=measures.slice(start, stop),
                num_dropped=dropped,
            )
            before += dropped


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What is sent in one call: a query and documents, in the order in which they are scored.

    Attributes:
        query: The query's text, as it is sent.
        documents: The documents' texts, as they are sent.
        tokens: Upper bound of query_tokens x documents + sum(document_tokens), for pace and cost.
        key: 16 bytes that name the content: what is asked, and of which service.
        document_keys: One per document; with them a stored answer can serve single documents.
        query_id: For the logs, which never show a text.
    """

    query: str
    documents: list[str]
    tokens: int
    key: bytes
    document_keys: KeyArray
    query_id: Id

    @property
    def num_documents(self) -> int:
        """How many documents are sent."""
        return len(self.documents)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The service's answer to one request.

    Attributes:
        scores: One finite number per document, in the request's order, unchanged.
        total_tokens: What the service says it counted; None where it says nothing.
        response_id: The service's name of the answer, for support cases.
    """

    scores: FloatArray
    total_tokens: int | None = None
    response_id: str = ""


@dataclass(frozen=True, slots=True)
class Reject:
    """Why one candidate has no score; `row` counts in the group's input order."""

    row: int
    reason: Reason
    code: str = ""
    message: str = ""

    @property
    def skipped(self) -> bool:
        """There was nothing to score, so this is not a failure."""
        return self.reason in SKIPPED_REASONS


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """A group's candidates in their new order, and how that came about.

    Attributes:
        group: The group that is ranked.
        order: int64, rows of the group, best first; every row once, those without a score last.
        scores: float64 along `order`, never increasing; NaN where there is no score.
        merge_status: How the scores of the group's requests were joined.
        certified_depth: How many places from the top are proved.
        num_requests: Requests that the ranking is made of.
        total_tokens: Their tokens, as the service counted them.
        num_truncated: Candidates whose text was cut at the per-item limit.
        rejects: One for each candidate without a score, by row.
        documents_reused: Documents of an earlier request whose scores stand here, by partial reuse.
        saved_tokens: What the whole group would have cost, less what was asked; by partial reuse.
    """

    group: Group
    order: IntArray
    scores: FloatArray
    merge_status: MergeStatus
    certified_depth: int = 0
    num_requests: int = 0
    total_tokens: int = 0
    num_truncated: int = 0
    rejects: tuple[Reject, ...] = field(default=())
    documents_reused: int = 0
    saved_tokens: int = 0

    @property
    def num_skipped(self) -> int:
        """Candidates with nothing to score."""
        return sum(reject.skipped for reject in self.rejects)

    @property
    def num_rejected(self) -> int:
        """Candidates that should have a score and have none."""
        return len(self.rejects) - self.num_skipped
