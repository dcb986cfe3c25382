"""Layout `long`: every row is one candidate, and repeats the query."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipeline.source.layouts.layout import HeldCandidates


class LongLayout:
    """A row per candidate; see `Layout`."""

    description: ClassVar[str] = "a row per candidate: query_id, query, doc_id, text"
    required: ClassVar[tuple[str, ...]] = ("query_id", "query", "doc_id", "text")
    optional: ClassVar[tuple[str, ...]] = ("first_stage_rank", "first_stage_score")
    rows_are_candidates: ClassVar[bool] = True

    def __init__(self, columns: Mapping[str, str]) -> None:
        self._columns = columns

    def column_of(self, role: str) -> str:
        """Return the column named for the role, or else the column of the role's name."""
        return self._columns.get(role, role)

    def flat_schema(self, schema: pa.Schema) -> pa.Schema:
        """Return the file's columns as they are."""
        return schema

    def id_columns(self) -> list[str]:
        """Return the column of `query_id`."""
        return [self.column_of("query_id")]

    def row_columns(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return all columns."""
        return batch

    def candidates(self, batch: pa.RecordBatch) -> HeldCandidates:
        """Return all columns, one candidate per row."""
        return HeldCandidates(batch, np.arange(batch.num_rows + 1))
