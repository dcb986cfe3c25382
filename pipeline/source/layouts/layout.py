"""The interface of a layout: how the rows of an input hold candidates."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final, Protocol, TypeAlias

import pyarrow as pa
from msgspec import Struct

from pipeline.core.arrays import IntArray

REQUIRED: Final = ("query_id", "query", "doc_id", "text")
"""The roles that every input must have a column for."""
OPTIONAL: Final = ("first_stage_rank", "first_stage_score")
"""The roles that may have a column."""
DOCUMENT_MEDIA: Final = ("image", "image_bytes", "video")
"""The roles of a document that is not a text, for a multimodal model."""
QUERY_MEDIA: Final = ("query_image", "query_image_bytes")
"""The roles of a query that is an image, for a multimodal model."""
CANDIDATE_ROLES: Final = ("doc_id", "text", *OPTIONAL)
"""The roles with one value per candidate, besides `DOCUMENT_MEDIA`; others have one per row."""


def content_roles(media: bool) -> tuple[str, ...]:
    """Return the roles of which a candidate has at least one: text, or with `media` also others."""
    return ("text", *DOCUMENT_MEDIA) if media else ("text",)


OF_IDS: Final = ("query_id", "doc_id", "first_stage_rank")
"""The roles whose values tell queries and candidates apart and in order; none is null."""


class HeldCandidates(Struct, frozen=True, eq=False):
    """The candidates that some adjacent input rows hold.

    Attributes:
        columns: One row per candidate, in the order of the input rows.
        offsets: int64 [number of input rows + 1]; input row r holds the candidates offsets[r] to
            offsets[r + 1]. It may hold none.
    """

    columns: pa.RecordBatch
    offsets: IntArray


class Layout(Protocol):
    """How the rows of an input hold candidates.

    A layout only takes rows apart. Everything else is the same for every layout: which types are
    allowed and what passes through (`schema.py`), and the checks of values (`row_decoder.py`).

    Each column has either one value per input row or one per candidate (`CANDIDATE_ROLES`).

    Attributes:
        description: What a row is, for messages: `a row per candidate: query_id, ...`.
        other_names: What `--column` may name besides the roles.
        rows_are_candidates: Every row holds one candidate, so file footers tell how many there are.
    """

    description: ClassVar[str]
    other_names: ClassVar[tuple[str, ...]]
    rows_are_candidates: ClassVar[bool]

    @property
    def found(self) -> str:
        """A description of the rows of this input."""

    def column_of(self, role: str) -> str:
        """Return the column of `flat_schema` that plays a role, whether a file has it or not."""

    def flat_schema(self, schema: pa.Schema) -> pa.Schema:
        """Return the columns of rows and candidates of a file, as if each candidate were a row."""

    def id_columns(self) -> list[str]:
        """Return the columns of a file to decode where only `query_id` is wanted."""

    def leaves_of_ids(self, leaves: Sequence[str]) -> list[str]:
        """Return the columns and fields to decode where only the roles of `OF_IDS` are wanted.

        Args:
            leaves: Those of a file by their dotted paths, such as `documents.list.element.doc_id`.
        """

    def row_columns(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the columns with one value per row.

        The batch has the columns of the file, or a part of them as above.
        """

    def candidates(self, batch: pa.RecordBatch) -> HeldCandidates:
        """Return the columns with one value per candidate, of a batch as above."""


LayoutFactory: TypeAlias = Callable[[Mapping[str, str], Sequence[pa.Schema], bool], Layout]
"""Makes a layout from the columns that the user has named for roles (`--column ROLE=COLUMN`), the
columns of the files, and whether the roles of images and videos count."""
