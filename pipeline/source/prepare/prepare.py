"""Prepare candidates of any form: one Parquet file of a layout that a run reads."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import pyarrow as pa
from msgspec import Struct

from pipeline.core.preparation import PLAIN_TEMPLATE, Preparation
from pipeline.source.arrow import one_chunk
from pipeline.source.batch_reader import BatchLimits
from pipeline.source.decoded_rows import DecodedIds
from pipeline.source.layouts.layout import DOCUMENT_MEDIA, QUERY_MEDIA
from pipeline.source.listing import InputListing, list_input
from pipeline.source.prepare.converting import convert, write_as_they_are
from pipeline.source.prepare.joining import Join, JoinLimits, join_texts
from pipeline.source.prepare.long_rows import iter_long_tables, long_schema, sort_candidates
from pipeline.source.prepare.lookup import TextSource, TextsWanted
from pipeline.source.prepare.named_files import find_named_files
from pipeline.source.prepare.writing import write_parquet
from pipeline.source.repeated_ids import RepeatedIds
from pipeline.source.source import Source

_ID_NAMES: Final = {"query": ("query_id", "_id"), "text": ("doc_id", "_id")}
_OPTIONS: Final = {"query": "--queries", "text": "--corpus"}
_LARGE: Final = BatchLimits(max_rows=65_536, max_bytes=16 << 20)


class PrepareLimits(Struct, frozen=True, kw_only=True):
    """How much is in memory at once; the result does not depend on it.

    Attributes:
        join: Limits of the join with texts.
        max_bucket_bytes: Bytes of the rows that are sorted at once.
    """

    join: JoinLimits = JoinLimits()
    max_bucket_bytes: int = 128 << 20


class Prepared(Struct, frozen=True):
    """How to read the file that was written.

    Attributes:
        layout: Its layout.
        columns: The columns that play roles, where they have other names.
        num_repeated: Candidates whose doc_id occurs earlier in their query.
    """

    layout: str
    columns: Mapping[str, str]
    num_repeated: int


class Preparer:
    """Prepares candidates.

    Args:
        input_name: What the user called them: a file, a folder, a glob or an object-store URI.
        preparation: What to do.
        columns: The columns that play roles, of the candidates and of the texts.
        layout: The candidates' layout.
        max_queries: Take only so many queries, the first ones.
        media: Whether images and videos are to be scored; they are checked when they are read.
            None to find out: if images or videos stand where no texts are.

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
        media: bool | None = None,
    ) -> None:
        self._name = input_name
        self._preparation = preparation
        self._columns = columns
        self._layout = layout
        self._max_queries = max_queries
        self._media = media
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
        """Return the facts of each file that the manifest keeps."""
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
        listing = self._listing or convert(self._named, spool / "candidates", check)
        sort = self._preparation.sort_input
        media = self._media
        if media is None:
            media = self._shows_media(listing, spool)
        texts = self._joined(spool) if media else dict(self._texts)
        source = Source(
            listing,
            columns={k: v for k, v in self._columns.items() if k not in texts},
            layout=self._layout,
            elsewhere=[*self._texts, *texts],
            max_queries=None if sort else self._max_queries,
            media=media,
            with_media=True,
            limits=_LARGE,
        )
        if not (source.rows_are_candidates or texts or sort):
            checked = source.check_ids()
            write_as_they_are(listing, stream, check)
            return Prepared(self._layout, self._columns, checked.num_repeated)
        schema = long_schema(source)
        if sort:
            tables = sort_candidates(
                source,
                lambda: _checked(iter_long_tables(source, schema), check),
                spool,
                max_queries=self._max_queries,
                max_bucket_bytes=limits.max_bucket_bytes,
            )
        else:
            source.count_groups()
            tables = _checked(iter_long_tables(source, schema), check)
        written = schema
        if texts:
            joins = [
                Join(
                    role=role,
                    id_role="query_id" if role in ("query", *QUERY_MEDIA) else "doc_id",
                    option=of_role.wanted.option,
                    which=of_role.name,
                    texts=of_role.scan(spool),
                    readable=of_role.readable,
                    is_binary=of_role.wanted.is_binary,
                )
                for role, of_role in texts.items()
            ]
            for join in joins:
                kind = pa.binary() if join.is_binary else pa.string()
                written = written.append(pa.field(join.role, kind))
            tables = join_texts(
                tables,
                joins,
                spool,
                candidates=self._name,
                missing=self._preparation.missing,
                limits=limits.join,
            )
        repeated = RepeatedIds()
        is_nested = not source.rows_are_candidates
        rows = _counted(_checked(tables, check), repeated)
        write_parquet(rows, written, stream, nested=is_nested)
        for of_role in self._texts.values():
            of_role.refuse_changes()
        source.listing.refuse_changes()
        return Prepared("nested" if is_nested else "long", {}, repeated.end())

    def _shows_media(self, listing: InputListing, spool: Path) -> bool:
        """Return whether images or videos are named, or are present where there are no texts."""
        if not self._columns.keys().isdisjoint((*DOCUMENT_MEDIA, *QUERY_MEDIA)):
            return True
        names = {name for file in listing.typed_files for name in file.schema.names}
        for role, others in (("text", DOCUMENT_MEDIA), ("query", QUERY_MEDIA)):
            columns = [self._columns.get(other, other) for other in others]
            texts, own = self._texts.get(role), self._columns.get(role, role)
            if texts is not None:
                names = {*filter(lambda name: texts.holds(name, spool), (own, "text", *columns))}
            if own not in names and not names.isdisjoint(columns):
                return True
        return False

    def _joined(self, spool: Path) -> dict[str, TextSource]:
        """Return the contents to join, by role: texts, and the images and videos beside them.

        Raises:
            InputError: for a file of another format.
        """
        joined = dict(self._texts)
        for role, texts in self._texts.items():
            beside = {
                media: column
                for media in (DOCUMENT_MEDIA if role == "text" else QUERY_MEDIA)
                if texts.holds(column := self._columns.get(media, media), spool)
            }
            for media, column in beside.items():
                is_binary = media.endswith("_bytes")
                joined[media] = texts.of_column(column, is_binary=is_binary)
            own = (self._columns.get(role, role), *texts.wanted.fallbacks["text"])
            if beside and not any(texts.holds(name, spool) for name in own):
                del joined[role]
        return joined

    def _text_source(self, role: str, name: str, template: str) -> TextSource:
        id_role, *others = _ID_NAMES[role]
        ids = (self._columns.get(id_role, id_role), id_role, *others)
        parts = Preparation(corpus=name, text_template=template).template_parts()
        own = self._columns.get(role, role)
        fallbacks = {"text": (own, "query", "text") if role == "query" else (own, "text")}
        return TextSource(name, TextsWanted(_OPTIONS[role], ids, parts, fallbacks))


def _counted(tables: Iterator[pa.Table], repeated: RepeatedIds) -> Iterator[pa.Table]:
    for table in tables:
        if table.num_rows:
            query_ids, doc_ids = (one_chunk(table.column(name)) for name in ("query_id", "doc_id"))
            repeated.add(DecodedIds(query_ids, np.arange(table.num_rows + 1), doc_ids))
        yield table


def _checked(tables: Iterator[pa.Table], check: Callable[[], None]) -> Iterator[pa.Table]:
    for table in tables:
        check()
        yield table
