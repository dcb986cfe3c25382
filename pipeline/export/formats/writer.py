"""The interface of a format: the seam between rows and the bytes of a file."""

from typing import BinaryIO, Protocol

import pyarrow as pa
from msgspec import Struct


class Shape(Struct, frozen=True, kw_only=True):
    """The columns of an export, and the options of its format.

    Attributes:
        columns: The columns of the rows; query_id, doc_id, rank and relevance_score among them.
        key: The partition key of a backfill; its column is the first one.
        run_tag: `trec`: the name of the run.
        index: `es-bulk`: the index.
        per_document: `es-bulk`: an update for each candidate, instead of a document a query.
    """

    columns: pa.Schema
    key: str | None = None
    run_tag: str = "rerank"
    index: str = ""
    per_document: bool = False


class Writer(Protocol):
    """Writes one file; made with the stream to write to and the shape of the rows."""

    def __init__(self, stream: BinaryIO, shape: Shape) -> None:
        """Begin the file."""

    def write(self, rows: pa.Table) -> int:
        """Write rows of whole queries of one partition.

        Returns:
            How many rows were left out, since their doc_id occurs at a better place of the query.

        Raises:
            InputError: for a value that the format cannot hold.
        """

    def close(self) -> None:
        """Write the end of the file, also after a failure; the stream stays open."""
