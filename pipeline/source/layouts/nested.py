"""Layout `nested`: a row per query, with the candidates in a column, or in lists side by side."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipeline.source.arrow import Field
from pipeline.source.layouts.documents import (
    DOCUMENTS,
    WHOLE,
    TakenApart,
    fields_of,
    is_list,
    join_lists,
    take_apart,
)
from pipeline.source.layouts.layout import (
    CANDIDATE_ROLES,
    DOCUMENT_MEDIA,
    OF_IDS,
    HeldCandidates,
    content_roles,
)


class NestedLayout:
    """A row per query; see `Layout`.

    Without a column called `documents` the candidates are in the one column that holds both
    doc_id and text, or else in lists called `doc_id`, `text`, ... of equal lengths.

    Args:
        columns: The columns that the user has named for roles; a field of the candidates is called
            by its own name, or `documents.NAME`.
        schemas: The columns of the files.
        media: Whether the roles of images and videos count.
    """

    description: ClassVar[str] = (
        "a row per query: query_id, query, and documents, a list of doc_id, text"
    )
    other_names: ClassVar[tuple[str, ...]] = (DOCUMENTS,)
    rows_are_candidates: ClassVar[bool] = False

    def __init__(
        self, columns: Mapping[str, str], schemas: Sequence[pa.Schema], media: bool
    ) -> None:
        self._columns = columns
        self._contents = content_roles(media)
        self._roles = (*CANDIDATE_ROLES, *(DOCUMENT_MEDIA if media else ()))
        self._documents = self._find_documents(schemas)
        self._row_names = {name for schema in schemas for name in schema.names}
        self._row_names.discard(self._documents or "")

    @classmethod
    def fits(
        cls, columns: Mapping[str, str], schemas: Sequence[pa.Schema], media: bool = False
    ) -> bool:
        """Return whether the files hold candidates in this layout."""
        return bool(schemas) and all(
            cls(columns, [schema], media)._holds(schema) for schema in schemas
        )

    @property
    def found(self) -> str:
        """Where the candidates are."""
        if self._documents is not None:
            return f"a row per query, with its candidates in column {self._documents!r}"
        contents = [self._field(role) for role in self._contents]
        held = next((name for name in contents if name in self._row_names), contents[0])
        return (
            "a row per query, with its candidates in the lists "
            f"{self._field('doc_id')!r} and {held!r}"
        )

    def column_of(self, role: str) -> str:
        """Return the column of a role: of the row, or of the candidates."""
        if role not in self._roles:
            return self._columns.get(role, role)
        return self._flat_name(self._field(role))

    def flat_schema(self, schema: pa.Schema) -> pa.Schema:
        """Return the columns of the rows, without the candidates, and the candidates' fields."""
        held = self._held_fields(schema)
        taken = {self._documents} if self._documents is not None else set(self._lists(schema))
        of_rows = [field for field in schema if field.name not in taken]
        return pa.schema([*of_rows, *(f.with_name(self._flat_name(f.name)) for f in held)])

    def id_columns(self) -> list[str]:
        """Return the column of `query_id`."""
        return [self.column_of("query_id")]

    def leaves_of_ids(self, leaves: Sequence[str]) -> list[str]:
        """Return the column of `query_id`, and the fields of ids and ranks.

        Where the ids are not fields, such as keys of a map, return all fields of the candidates.
        """
        fields = {self._field(role) for role in OF_IDS if role in CANDIDATE_ROLES}
        tops = fields if self._documents is None else {self._documents}
        held = [leaf for leaf in leaves if leaf.partition(".")[0] in tops]
        if self._documents is not None:
            parts = {leaf: {*leaf.split(".")[1:]} for leaf in held}
            if any(self._field("doc_id") in parts[leaf] for leaf in held):
                held = [leaf for leaf in held if parts[leaf] & fields]
        return [*self.id_columns(), *held]

    def row_columns(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return all columns that are not the candidates'."""
        taken = [self._documents] if self._documents is not None else self._lists(batch.schema)
        return batch.drop_columns([name for name in taken if name in batch.schema.names])

    def candidates(self, batch: pa.RecordBatch) -> HeldCandidates:
        """Return the candidates' fields.

        Raises:
            UnequalLists: for a row whose lists differ in length.
        """
        taken = self._take_apart(batch)
        names = [self._flat_name(name) for name in taken.fields]
        columns = pa.record_batch(list(taken.fields.values()), names=names)
        return HeldCandidates(columns, np.append(0, np.cumsum(taken.sizes)))

    def _take_apart(self, batch: pa.RecordBatch) -> TakenApart:
        if self._documents is not None:
            return take_apart(batch.column(self._documents), self._map_names())
        return join_lists({name: batch.column(name) for name in self._lists(batch.schema)})

    def _find_documents(self, schemas: Sequence[pa.Schema]) -> str | None:
        """Return the column that holds the candidates; None for lists side by side."""
        if DOCUMENTS in self._columns:
            return self._columns[DOCUMENTS]
        if any(DOCUMENTS in schema.names for schema in schemas):
            return DOCUMENTS
        for schema in schemas:
            columns = [field.name for field in schema if self._is_documents(field)]
            if len(columns) == 1:
                return columns[0]
        return None

    def _is_documents(self, field: Field) -> bool:
        return self._suffices(
            {held.name for held in fields_of(field.type, ()) or ()}, documents=field.name
        )

    def _holds(self, schema: pa.Schema) -> bool:
        return self._suffices({field.name for field in self._held_fields(schema)})

    def _suffices(self, names: set[str], documents: str | None = None) -> bool:
        """Return whether these fields hold the ids and the contents of candidates."""
        return self._field("doc_id", documents) in names and any(
            self._field(role, documents) in names for role in self._contents
        )

    def _held_fields(self, schema: pa.Schema) -> list[Field]:
        if self._documents is None:
            return [
                pa.field(name, schema.field(name).type.value_type) for name in self._lists(schema)
            ]
        if schema.get_field_index(self._documents) < 0:
            return []
        return fields_of(schema.field(self._documents).type, self._map_names()) or []

    def _lists(self, schema: pa.Schema) -> list[str]:
        """Return the lists that play roles side by side; other lists belong to the row."""
        names = [self._field(role) for role in self._roles]
        return [
            n for n in names if schema.get_field_index(n) >= 0 and is_list(schema.field(n).type)
        ]

    def _field(self, role: str, documents: str | None = None) -> str:
        """Return the name of the field that plays a role, in the column of the candidates."""
        name = self._columns.get(role, role)
        column, dot, field = name.partition(".")
        return field if dot and column in (DOCUMENTS, documents or self._documents) else name

    def _map_names(self) -> list[str]:
        """Return the names to look up in maps: required ones, and those that the user has named."""
        looked_up = ("doc_id", *(role for role in self._contents if role != "image_bytes"))
        roles = [role for role in self._roles if role in looked_up or role in self._columns]
        return [self._field(role) for role in roles]

    def _flat_name(self, field: str) -> str:
        """Return the name of a field among the columns, unlike that of any column of the row."""
        if self._documents is None:
            return field
        if field == WHOLE:
            return self._documents
        while field in self._row_names:
            field = f"{self._documents}_{field}"
        return field
