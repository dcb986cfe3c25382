"""Export a result to one file, part by part, in flat memory; the file is written whole or not."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final

import pyarrow as pa
from msgspec import Struct
from msgspec.structs import replace

from pipeline.core.errors import InputError
from pipeline.export.compression import compressed
from pipeline.export.destination import DigestStream, ExportRecord
from pipeline.export.documents import query_starts
from pipeline.export.formats.es_bulk import BulkWriter
from pipeline.export.formats.jsonl import JsonLinesWriter
from pipeline.export.formats.nested_parquet import NestedParquetWriter
from pipeline.export.formats.trec import TrecWriter
from pipeline.export.formats.writer import Shape, Writer
from pipeline.export.result import Piece, Result
from pipeline.export.texts import InputTexts
from pipeline.storage.location import Location, locate

FORMATS: Final[dict[str, type[Writer]]] = {
    "trec": TrecWriter,
    "jsonl": JsonLinesWriter,
    "parquet": NestedParquetWriter,
    "es-bulk": BulkWriter,
}
"""The writer of each format."""


class Texts(Struct, frozen=True):
    """Which texts an export holds.

    Attributes:
        with_text: Whether the candidates' texts are wanted.
        input_name: The input of the result, for outputs that were written without texts.
    """

    with_text: bool = False
    input_name: str | None = None


class ExportSummary(Struct, frozen=True, kw_only=True):
    """The numbers of an export.

    Attributes:
        queries: Queries in the file.
        rows: Candidates in it.
        repeated: Candidates left out, since their doc_id stands at a better place of the query.
        size_bytes: Size of the file.
        finished: Whether the result is finished.
    """

    queries: int
    rows: int
    repeated: int
    size_bytes: int
    finished: bool


def export_result(
    result: Result, file: Location, file_format: str, shape: Shape, texts: Texts
) -> ExportSummary:
    """Write a result to a file.

    Args:
        result: What to export.
        file: Where to; a file that an export of this result wrote is replaced.
        file_format: A name of `FORMATS`.
        shape: Options of the format; its columns are those of the result.
        texts: Which texts the file holds.

    Raises:
        InputError: if the result or its input cannot be read, or holds what the format cannot.
        OutputMismatch: if the file exists and is not an export of this result.
        OutputFailed: if the file cannot be written.
    """
    record = ExportRecord(locate(result.name), file)
    record.refuse_foreign()
    selection = Selection(result, texts)
    queries = num_rows = repeated = 0
    with file.writing() as stream:
        digest = DigestStream(stream)
        with compressed(digest, file.path) as packed:  # type: ignore[arg-type]  # writes alone
            shape = replace(shape, columns=selection.columns, key=result.key)
            with closing(FORMATS[file_format](packed, shape)) as writer:
                for rows in selection.iter_rows():
                    repeated += writer.write(rows)
                    queries += len(query_starts(rows))
                    num_rows += rows.num_rows
        record.add(digest.digest())
    return ExportSummary(
        queries=queries,
        rows=num_rows - repeated,
        repeated=repeated,
        size_bytes=digest.digest().size_bytes,
        finished=all(piece.output.is_finished for piece in result.pieces),
    )


class Selection:
    """The rows of a result with the texts that are wanted.

    Args:
        result: What is read.
        texts: Which texts the rows have.

    Attributes:
        columns: The columns of the rows.

    Raises:
        InputError: if the result cannot be read.
    """

    def __init__(self, result: Result, texts: Texts) -> None:
        stored = result.columns()
        self._result = result
        self._texts = texts
        self._has_text = {"query", "text"} <= set(stored.names)
        self._stored = pa.schema([f for f in stored if texts.with_text or f.name != "text"])
        self._joins = not self._has_text and (texts.with_text or texts.input_name is not None)
        fields = list(self._stored)
        if self._joins:
            fields.append(pa.field("query", pa.large_string()))
        if self._joins and texts.with_text:
            fields.append(pa.field("text", pa.large_string()))
        self.columns = pa.schema(fields)

    def iter_rows(self) -> Iterator[pa.Table]:
        """Yield rows of whole queries, in order, some ten thousand at a time.

        Raises:
            InputError: if a part or an input cannot be read.
        """
        for piece in self._result.pieces:
            join = self._join(piece)
            for part in piece.output.parts:
                for rows in piece.iter_rows(part, self._stored):
                    yield join(rows).select(self.columns.names)

    def _join(self, piece: Piece) -> Callable[[pa.Table], pa.Table]:
        if not self._joins:
            return lambda rows: rows
        try:
            texts = InputTexts(piece.output, self._input_of(piece))
        except InputError as error:
            if self._texts.input_name is not None:
                raise
            raise InputError(
                f"it holds no texts, and its input cannot be read: {error.what}",
                which=piece.name,
                cure="name the input with --input (one that was converted, joined or sorted: as "
                "`rerank prepare` makes it), or write texts with `rerank run --with-text`",
            ) from error
        return lambda rows: texts.join(rows, with_text=self._texts.with_text)

    def _input_of(self, piece: Piece) -> str | None:
        name = self._texts.input_name
        if name is None or piece.partition is None:
            return name
        return f"{name.rstrip('/')}/{piece.partition.folder}"
