"""Queries shown with their first documents before and after, side by side."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import polars as pl
import pyarrow as pa
from msgspec import Struct

from pipeline.evaluation.first_stage import find_input
from pipeline.output.part_info import PartInfo
from pipeline.output.reader import WrittenOutput
from pipeline.source.source import Source

NUM_QUERIES: Final = 10
"""Of the best, and of the worst."""

NUM_DOCUMENTS: Final = 5

_COLUMNS: Final = ("query_id", "doc_id", "rank", "first_stage_rank", "relevance_score")
_TEXTS: Final = ("query", "text")


class ShownDocument(Struct, frozen=True, kw_only=True):
    """A document at a place of a ranking.

    Attributes:
        place: In this ranking.
        other_place: In the other one.
        relevance: Its judgement; None without one.
        text: None if it is not known.
    """

    doc_id: str
    place: int
    other_place: int
    relevance: int | None = None
    text: str | None = None


class ShownQuery(Struct, frozen=True, kw_only=True):
    """A query with its first documents in both orders.

    Attributes:
        query: Its text; None if it is not known.
        figures: What is said of it, by name: its measure before and after, or its agreement.
    """

    query_id: str
    query: str | None
    figures: Mapping[str, float | None]
    before: tuple[ShownDocument, ...]
    after: tuple[ShownDocument, ...]


class Examples:
    """Finds queries of an output, and their texts if the output or the input has them.

    Args:
        output: The output.
        input_name: The input; None for texts of the output alone.

    Raises:
        InputError: if the input cannot be read, or is not that of the output.
    """

    def __init__(self, output: WrittenOutput, input_name: str | None = None) -> None:
        self._output = output
        self._names = output.schema().names
        self._source: Source | None = None
        if input_name is not None and "text" not in self._names:
            self._source = find_input(output, input_name)

    @property
    def have_texts(self) -> bool:
        """Whether documents are shown with their texts."""
        return "text" in self._names or self._source is not None

    def show(
        self,
        figures: Mapping[str, Mapping[str, float | None]],
        judgements: pl.DataFrame | None = None,
    ) -> list[ShownQuery]:
        """Return these queries, in their order.

        Args:
            figures: What is said of each query, by its id as text.
            judgements: As `read_judgements` returns them.

        Raises:
            InputError: if a part or the input cannot be read.
        """
        wanted = pl.Series("query_id", list(figures), dtype=pl.String)
        found: dict[str, ShownQuery] = {}
        for part in self._output.parts:
            if len(found) == len(wanted):
                break
            ids = self._output.read_groups(part, ["query_id"])["query_id"].cast(pl.String)
            here = ids.filter(ids.is_in(wanted.implode()))
            if here.is_empty():
                continue
            rows = self._rows(part, here)
            for query_id in here.to_list():
                own = rows.filter(pl.col("query_id") == query_id)
                relevance = _relevance(judgements, query_id)
                found[query_id] = _shown(query_id, own, figures[query_id], relevance)
        return [found[query_id] for query_id in figures if query_id in found]

    def _rows(self, part: PartInfo, query_ids: pl.Series) -> pl.DataFrame:
        """Return the first rows of these queries in both orders, with texts where known."""
        columns = [*_COLUMNS, *(name for name in _TEXTS if name in self._names)]
        pieces = []
        for table in self._output.iter_rows(part, columns):
            rows = _frame(table.select(columns))
            own = rows.filter(pl.col("query_id").is_in(query_ids.implode()))
            old = pl.col("first_stage_rank").rank("ordinal").over("query_id").cast(pl.Int64)
            own = own.with_columns(old=old)
            first = (pl.col("rank") <= NUM_DOCUMENTS) | (pl.col("old") <= NUM_DOCUMENTS)
            pieces.append(own.filter(first))
        rows = pl.concat(pieces)
        if self._source is None:
            return rows
        keys = ["query_id", "doc_id", "first_stage_rank"]
        texts = pl.concat(list(_texts(self._source, part, query_ids)))
        return rows.join(texts.unique(keys, keep="first"), on=keys, how="left").sort(
            "query_id", "rank"
        )


def _texts(source: Source, part: PartInfo, query_ids: pl.Series) -> Iterator[pl.DataFrame]:
    """Yield the candidates of these queries with their texts, from the input of a part."""
    spans = [(0, part.first_row), (part.stop_row, source.num_rows)]
    wanted = set(query_ids.to_list())
    yield pl.DataFrame(
        schema={
            "query_id": pl.String,
            "doc_id": pl.String,
            "first_stage_rank": pl.Int32,
            "query": pl.String,
            "text": pl.String,
        }
    )
    for batch in source.iter_batches(finished=[span for span in spans if span[0] < span[1]]):
        offsets = batch.offsets.tolist()
        for number, query_id in enumerate(batch.query_ids):
            if str(query_id) not in wanted:
                continue
            start, stop = offsets[number], offsets[number + 1]
            ids = batch.candidates["doc_id"].slice(start, stop - start)
            yield pl.DataFrame(
                {
                    "query_id": [str(query_id)] * (stop - start),
                    "doc_id": [str(one) for one in ids.to_pylist()],
                    "first_stage_rank": pl.Series(batch.first_stage_rank[start:stop]),
                    "query": pl.Series([batch.queries[number]] * (stop - start), dtype=pl.String),
                    "text": batch.texts.slice(start, stop - start).to_pylist(),
                },
                schema_overrides={"text": pl.String},
            )


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.DataFrame(table)
    return frame.with_columns(pl.col("query_id", "doc_id").cast(pl.String))


def _relevance(judgements: pl.DataFrame | None, query_id: str) -> Mapping[str, int]:
    if judgements is None:
        return {}
    own = judgements.filter(pl.col("query_id") == query_id)
    return dict(zip(own["doc_id"].to_list(), own["relevance"].to_list(), strict=True))


def _shown(
    query_id: str,
    rows: pl.DataFrame,
    figures: Mapping[str, float | None],
    relevance: Mapping[str, int],
) -> ShownQuery:
    return ShownQuery(
        query_id=query_id,
        query=rows["query"][0] if "query" in rows.columns and rows.height else None,
        figures=figures,
        before=_documents(rows.sort("old").to_dicts(), ("old", "rank"), relevance),
        after=_documents(rows.sort("rank").to_dicts(), ("rank", "old"), relevance),
    )


def _documents(
    rows: Sequence[dict[str, Any]], places: tuple[str, str], relevance: Mapping[str, int]
) -> tuple[ShownDocument, ...]:
    place, other = places
    return tuple(
        ShownDocument(
            doc_id=row["doc_id"],
            place=row[place],
            other_place=row[other],
            relevance=relevance.get(row["doc_id"]),
            text=row.get("text"),
        )
        for row in rows[:NUM_DOCUMENTS]
        if row[place] <= NUM_DOCUMENTS
    )
