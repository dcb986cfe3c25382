"""Candidates of any form, made into one Parquet file of a layout that a run reads."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from pipeline.core.arrays import IntArray
from pipeline.core.errors import InputError
from pipeline.core.groups import Id
from pipeline.core.preparation import PLAIN_TEMPLATE, Preparation
from pipeline.source.adjacency import find_starts
from pipeline.source.arrow import nulls
from pipeline.source.decoded_rows import DecodedRows
from pipeline.source.listing import InputListing, list_input
from pipeline.source.pieces import BatchLimits
from pipeline.source.prepare.joining import Join, JoinLimits, join_texts
from pipeline.source.prepare.lookup import TextSource, TextsWanted
from pipeline.source.prepare.named_files import NamedFiles, find_named_files
from pipeline.source.prepare.sorting import hash_ids, sort_tables, sorted_places
from pipeline.source.prepare.text_files import parsing, scan_rows
from pipeline.source.prepare.writing import write_parquet
from pipeline.source.source import Source

_ID_NAMES: Final = {"query": ("query_id", "_id"), "text": ("doc_id", "_id")}
_OPTIONS: Final = {"query": "--queries", "text": "--corpus"}
_MAX_BUCKETS: Final = 200
"""Files that are open at once; of more than 25 GB, buckets become larger instead."""
_LARGE: Final = BatchLimits(max_rows=65_536, max_bytes=16 << 20)


class PrepareLimits(Struct, frozen=True, kw_only=True):
    """How much is in memory at once; the result does not depend on it.

    Attributes:
        join: Of the texts.
        max_bucket_bytes: Of rows that are sorted at once.
    """

    join: JoinLimits = JoinLimits()
    max_bucket_bytes: int = 128 << 20


class Prepared(Struct, frozen=True):
    """How to read the file that was written.

    Attributes:
        layout: Its layout.
        columns: The columns that play roles, where they bear other names.
    """

    layout: str
    columns: Mapping[str, str]


class Preparer:
    """Candidates that are to be made ready.

    Args:
        input_name: What the user called them: a file, a folder, a glob or an object-store URI.
        preparation: What to do.
        columns: The columns that play roles, of the candidates and of the texts.
        layout: The candidates' layout.
        max_queries: Take only so many queries, the first ones.

    Raises:
        InputError: if a file cannot be found.
    """

    def __init__(
        self,
        input_name: str,
        preparation: Preparation,
        *,
        columns: Mapping[str, str],
        layout: str = "auto",
        max_queries: int | None = None,
    ) -> None:
        self._name = input_name
        self._preparation = preparation
        self._columns = columns
        self._layout = layout
        self._max_queries = max_queries
        self._named = find_named_files(input_name)
        self._listing = list_input(input_name) if self._named.format == "parquet" else None
        self._texts: dict[str, TextSource] = {}
        if preparation.queries is not None:
            self._texts["query"] = self._text_source("query", preparation.queries, PLAIN_TEMPLATE)
        if preparation.corpus is not None:
            template = preparation.text_template
            self._texts["text"] = self._text_source("text", preparation.corpus, template)

    @property
    def is_needed(self) -> bool:
        """Whether a run cannot read the candidates as they are."""
        return bool(self._listing is None or self._texts or self._preparation.sort_input)

    def facts(self) -> list[dict[str, str | int]]:
        """Return what the manifest keeps of each file."""
        if self._listing is not None:
            facts = self._listing.facts()
        else:
            facts = [file.facts() for file in self._named.files]
        return facts + [fact for texts in self._texts.values() for fact in texts.facts()]

    def write(
        self,
        stream: BinaryIO,
        spool: Path,
        *,
        check: Callable[[], None] = lambda: None,
        limits: PrepareLimits = PrepareLimits(),  # noqa: B008  # frozen
    ) -> Prepared:
        """Write the candidates as one Parquet file.

        Args:
            stream: Where to write it.
            spool: An empty folder for intermediate files.
            check: Called often; what it raises ends the work.
            limits: How much is in memory at once.

        Raises:
            InputError: if a file cannot be read or understood, if rows of a query are not adjacent
                and are not to be sorted, and if texts are missing and not to be skipped.
        """
        listing = self._listing or _converted(self._named, spool / "candidates", check)
        sort = self._preparation.sort_input
        source = Source(
            listing,
            columns={k: v for k, v in self._columns.items() if k not in self._texts},
            layout=self._layout,
            elsewhere=list(self._texts),
            max_queries=None if sort else self._max_queries,
            limits=_LARGE,
        )
        if not (source.rows_are_candidates or self._texts or sort):
            _write_as_they_are(listing, stream, check)
            return Prepared(self._layout, self._columns)
        schema = _long_schema(source)
        if sort:
            tables = _sorted(
                source,
                lambda: _checked(_long_tables(source, schema), check),
                spool,
                max_queries=self._max_queries,
                max_bucket_bytes=limits.max_bucket_bytes,
            )
        else:
            source.count_groups()
            tables = _checked(_long_tables(source, schema), check)
        written = schema
        if self._texts:
            joins = [
                Join(
                    role=role,
                    id_role=_ID_NAMES[role][0],
                    option=texts.wanted.option,
                    which=texts.name,
                    texts=texts.scan(spool),
                    readable=texts.readable,
                )
                for role, texts in self._texts.items()
            ]
            for join in joins:
                written = written.append(pa.field(join.role, pa.string()))
            tables = join_texts(
                tables,
                joins,
                spool,
                candidates=self._name,
                missing=self._preparation.missing,
                limits=limits.join,
            )
        write_parquet(_checked(tables, check), written, stream)
        for texts in self._texts.values():
            texts.refuse_changes()
        source.listing.refuse_changes()
        return Prepared("long", {})

    def _text_source(self, role: str, name: str, template: str) -> TextSource:
        id_role, *others = _ID_NAMES[role]
        ids = (self._columns.get(id_role, id_role), id_role, *others)
        parts = Preparation(corpus=name, text_template=template).template_parts()
        own = self._columns.get(role, role)
        fallbacks = {"text": (own, "query", "text") if role == "query" else (own, "text")}
        return TextSource(name, TextsWanted(_OPTIONS[role], ids, parts, fallbacks))


def _sorted(
    source: Source,
    tables: Callable[[], Iterator[pa.Table]],
    spool: Path,
    *,
    max_queries: int | None,
    max_bucket_bytes: int,
) -> Iterator[pa.Table]:
    """Yield the rows with those of each query together; of the first queries, if so many."""
    if source.rows_are_candidates:
        ids = (piece.query_ids for piece in source.iter_query_ids())
    else:
        ids = (table.column("query_id").combine_chunks() for table in tables())
    places = sorted_places(np.concatenate([np.empty(0, np.uint64), *map(hash_ids, ids)]))
    sizes = ((table.nbytes, table.num_rows) for table in tables() if table.num_rows)
    num_bytes, num_rows = next(sizes, (1, 1))
    rows_per_bucket = max(
        1, max_bucket_bytes * num_rows // max(num_bytes, 1), len(places) // _MAX_BUCKETS
    )
    ordered = sort_tables(tables(), places, spool / "buckets", rows_per_bucket=rows_per_bucket)
    return ordered if max_queries is None else _first_queries(ordered, max_queries)


def _first_queries(tables: Iterator[pa.Table], max_queries: int) -> Iterator[pa.Table]:
    last_id: Id | None = None
    for table in tables:
        if not table.num_rows:  # tells the columns
            yield table
            continue
        query_ids = table.column("query_id").combine_chunks()
        starts = find_starts(query_ids, last_id)
        if len(starts) > max_queries:
            yield table.slice(0, int(starts[max_queries]))
            return
        max_queries -= len(starts)
        last_id = query_ids[-1].as_py()
        yield table


def _long_schema(source: Source) -> pa.Schema:
    """Return the columns of a row per candidate, with the names of roles."""
    schema = source.candidate_schema
    if "first_stage_rank" in source.roles:
        schema = schema.append(pa.field("first_stage_rank", pa.int32()))
    for role in ("query", "text"):
        if role in source.roles:
            schema = schema.append(pa.field(role, pa.string()))
    return schema


def _long_tables(source: Source, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the candidates as long rows; an empty table first, for the columns.

    Raises:
        InputError: for a query without candidates, which no row would show.
    """
    yield schema.empty_table()
    for piece in source.iter_pieces():
        assert piece.rows is not None
        empty = np.flatnonzero(np.diff(piece.rows.offsets) == 0)
        if len(empty):
            file, row = source.listing.locate_row(piece.first_row + int(empty[0]))
            raise InputError(
                "a query without candidates",
                which=file.location.name,
                found=f"row {row}",
                cure="remove it: it cannot be joined or sorted",
            )
        yield _long_table(piece.rows, schema)


def _long_table(rows: DecodedRows, schema: pa.Schema) -> pa.Table:
    values: dict[str, Any] = {"first_stage_rank": rows.ranks, "text": rows.texts}
    if "query" in schema.names:
        sizes = np.diff(rows.offsets)
        places: IntArray = np.repeat(np.arange(rows.num_rows), sizes)
        values["query"] = rows.queries if (sizes == 1).all() else rows.queries.take(places)
    table = rows.candidates
    for name in schema.names[table.num_columns :]:
        table = table.append_column(name, values[name])
    return table.cast(schema)


def _converted(named: NamedFiles, folder: Path, check: Callable[[], None]) -> InputListing:
    """Return files of a text format as Parquet; messages name the user's files."""
    folder.mkdir(parents=True)
    for number, file in enumerate(named.files):
        check()
        which = file.location.name
        path = file.fetch(folder.with_name("fetched"))
        frame = scan_rows(path, which, named.format)
        with parsing(path, which, named.format):
            frame.sink_parquet(folder / f"{number:05d}.parquet")
        file.refuse_changes()
    listing = list_input(str(folder))
    files = [
        msgspec.structs.replace(
            parquet,
            path=file.path,
            location=msgspec.structs.replace(parquet.location, name=file.location.name),
        )
        for parquet, file in zip(listing.files, named.files, strict=True)
    ]
    return InputListing(named.name, tuple(files))


def _write_as_they_are(listing: InputListing, stream: BinaryIO, check: Callable[[], None]) -> None:
    """Write the rows of nested files with their own columns."""
    schemas = [file.schema for file in listing.typed_files]
    schema = pa.unify_schemas(schemas, promote_options="permissive").remove_metadata()
    with pq.ParquetWriter(stream, schema) as writer:
        for file in listing.files:
            with file.open() as opened:
                for batch in opened.parquet.iter_batches(_LARGE.max_rows):
                    check()
                    columns = [
                        batch.column(field.name).cast(field.type)
                        if field.name in batch.schema.names
                        else nulls(batch.num_rows, field.type)
                        for field in schema
                    ]
                    writer.write_table(pa.table(columns, schema=schema))


def _checked(tables: Iterator[pa.Table], check: Callable[[], None]) -> Iterator[pa.Table]:
    for table in tables:
        check()
        yield table
