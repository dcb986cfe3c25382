"""Layout `long`: every row is one candidate, and repeats the query."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipeline.source.layouts.documents import is_list
from pipeline.source.layouts.layout import OF_IDS, HeldCandidates, content_roles


class LongLayout:
    """A row per candidate; see `Layout`."""

    description: ClassVar[str] = "a row per candidate: query_id, query, doc_id, text"
    other_names: ClassVar[tuple[str, ...]] = ()
    rows_are_candidates: ClassVar[bool] = True

    def __init__(self, columns: Mapping[str, str], _: Sequence[pa.Schema], media: bool) -> None:
        self._columns = columns

    @classmethod
    def fits(
        cls, columns: Mapping[str, str], schemas: Sequence[pa.Schema], media: bool = False
    ) -> bool:
        """Return whether each file has a column of doc_ids, and one of texts, images or videos."""

        def has(schema: pa.Schema, role: str) -> bool:
            name = columns.get(role, role)
            return schema.get_field_index(name) >= 0 and not is_list(schema.field(name).type)

        return all(
            has(schema, "doc_id") and any(has(schema, role) for role in content_roles(media))
            for schema in schemas
        )

    @property
    def found(self) -> str:
        """A description of the rows."""
        return "a row per candidate"

    def column_of(self, role: str) -> str:
        """Return the column named for the role, or else the column of the role's name."""
        return self._columns.get(role, role)

    def flat_schema(self, schema: pa.Schema) -> pa.Schema:
        """Return the file's columns as they are."""
        return schema

    def id_columns(self) -> list[str]:
        """Return the column of `query_id`."""
        return [self.column_of("query_id")]

    def leaves_of_ids(self, leaves: Sequence[str]) -> list[str]:
        """Return the columns of ids and ranks."""
        wanted = {self.column_of(role) for role in OF_IDS}
        return [leaf for leaf in leaves if leaf in wanted]

    def row_columns(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return all columns."""
        return batch

    def candidates(self, batch: pa.RecordBatch) -> HeldCandidates:
        """Return all columns, one candidate per row."""
        return HeldCandidates(batch, np.arange(batch.num_rows + 1))
