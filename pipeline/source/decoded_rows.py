"""Adjacent input rows in memory, checked, with the columns that all files of the input share."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec import Struct

from pipeline.core.arrays import IntArray
from pipeline.source.arrow import Array, concat


class DecodedIds(Struct, frozen=True, eq=False):
    """The ids of adjacent input rows, and of the candidates that they hold.

    Attributes:
        query_ids: One per input row.
        offsets: As those of `DecodedRows`.
        doc_ids: One per candidate.
    """

    query_ids: Array
    offsets: IntArray
    doc_ids: Array

    def head(self, num_rows: int) -> "DecodedIds":
        """Return the ids of the first input rows, without a copy."""
        return DecodedIds(
            self.query_ids.slice(0, num_rows),
            self.offsets[: num_rows + 1],
            self.doc_ids.slice(0, int(self.offsets[num_rows])),
        )


class DecodedRows(Struct, frozen=True, eq=False):
    """Adjacent input rows and the candidates that they hold.

    Attributes:
        query_ids: One per input row.
        queries: large_string, one per input row, null where the row has none.
        offsets: int64 [number of input rows + 1], from 0; input row r holds the candidates
            offsets[r] to offsets[r + 1]. It may hold none.
        candidates: One row per candidate, the columns of `InputSchema.candidate_schema`.
        texts: large_string, one per candidate; it shares the memory of the input.
        ranks: int32, one per candidate; all null where the input has no ranks.
        media: A struct of `DOCUMENT_MEDIA` per candidate, all null for a text; None for an input of
            texts alone.
        query_media: A struct of `QUERY_MEDIA` per input row; None likewise.
    """

    query_ids: Array
    queries: Array
    offsets: IntArray
    candidates: pa.Table
    texts: pa.LargeStringArray
    ranks: Array
    media: Any = None
    query_media: Any = None

    @property
    def num_rows(self) -> int:
        """How many input rows there are."""
        return len(self.query_ids)

    @property
    def num_candidates(self) -> int:
        """How many candidates they hold together."""
        return len(self.texts)

    def slice(self, start: int, stop: int) -> "DecodedRows":
        """Return the input rows `start` to `stop`, without a copy."""
        first, last = int(self.offsets[start]), int(self.offsets[stop])
        return DecodedRows(
            self.query_ids.slice(start, stop - start),
            self.queries.slice(start, stop - start),
            self.offsets[start : stop + 1] - first,
            self.candidates.slice(first, last - first),
            self.texts.slice(first, last - first),
            self.ranks.slice(first, last - first),
            None if self.media is None else self.media.slice(first, last - first),
            None if self.query_media is None else self.query_media.slice(start, stop - start),
        )


def join_rows(pieces: Sequence[DecodedRows]) -> DecodedRows:
    """Return the rows of adjacent pieces as one; copies unless there is only one piece."""
    if len(pieces) == 1:
        return pieces[0]
    before = np.cumsum([0, *(piece.num_candidates for piece in pieces)])
    offsets = [piece.offsets[:-1] + at for piece, at in zip(pieces, before[:-1], strict=True)]
    return DecodedRows(
        concat([piece.query_ids for piece in pieces]),
        concat([piece.queries for piece in pieces]),
        np.concatenate([*offsets, before[-1:]]),
        pa.concat_tables([piece.candidates for piece in pieces]),
        concat([piece.texts for piece in pieces]),
        concat([piece.ranks for piece in pieces]),
        _join([piece.media for piece in pieces]),
        _join([piece.query_media for piece in pieces]),
    )


def _join(media: Sequence[Any]) -> Any:
    held = [array for array in media if array is not None]
    return concat(held) if held else None
