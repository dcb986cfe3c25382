"""Read queries and texts from the input of an output that was written without them.

Output and input have their queries in the same order, so both are read once, side by side.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Final

import polars as pl
import pyarrow as pa

from pipeline.core.errors import InputError
from pipeline.core.groups import GroupBatch
from pipeline.evaluation.first_stage import find_input
from pipeline.export.json_text import to_frame
from pipeline.output.part_info import PartInfo
from pipeline.output.reader import WrittenOutput
from pipeline.source.source import Source

_KEY: Final = ("query_id", "doc_id", "first_stage_rank")
"""Key of an input row; of rows with equal keys the first is taken."""


class InputTexts:
    """The queries and texts of one output's input.

    Args:
        output: The output.
        input_name: Its input; None: where the last run found it.

    Raises:
        InputError: if the input cannot be read, or has changed since.
    """

    def __init__(self, output: WrittenOutput, input_name: str | None) -> None:
        self._source = find_input(output, input_name)
        self._batches = _iter_batches(self._source, output.parts)
        self._held: list[pl.DataFrame] = []

    def join(self, rows: pa.Table, *, with_text: bool) -> pa.Table:
        """Return rows of whole queries with `query`, and `text` if it is wanted.

        Rows must come in the order of the output, each once.

        Raises:
            InputError: if the input lacks a query, or cannot be read.
        """
        wanted = to_frame(rows.select(list(_KEY)))
        queries = wanted["query_id"].unique()
        missing = queries
        for held in self._held:
            missing = missing.filter(~missing.is_in(held["query_id"].implode()))
        while len(missing):
            batch = next(self._batches, None)
            if batch is None:
                raise InputError("the input lacks a query", found=str(missing[0])[:80])
            self._held.append(batch)
            missing = missing.filter(~missing.is_in(batch["query_id"].implode()))
        found = pl.concat(self._held)
        self._held = [found.filter(~pl.col("query_id").is_in(queries.implode()))]
        columns = ["query", "text"] if with_text else ["query"]
        joined = wanted.join(
            found.unique(_KEY, keep="first"), on=_KEY, how="left", maintain_order="left"
        ).select(columns)
        texts = joined.to_arrow(compat_level=pl.CompatLevel.oldest())
        for name in columns:
            rows = rows.append_column(name, texts[name].cast(pa.large_string()))
        return rows


def _iter_batches(source: Source, parts: tuple[PartInfo, ...]) -> Iterator[pl.DataFrame]:
    """Yield the candidates of these parts with their texts; null for an image or a video."""
    borders = chain(*((part.first_row, part.stop_row) for part in parts))
    edges = [0, *borders, source.num_rows]
    absent = zip(edges[::2], edges[1::2], strict=True)
    for batch in source.iter_batches(finished=[span for span in absent if span[0] < span[1]]):
        yield _frame(batch)


def _frame(batch: GroupBatch) -> pl.DataFrame:
    sizes = pl.Series(batch.offsets).diff().drop_nulls()
    texts = [query if isinstance(query, str) else None for query in batch.queries]
    queries = pl.Series(texts, dtype=pl.String)
    return to_frame(batch.candidates.select(["query_id", "doc_id"])).with_columns(
        pl.Series("first_stage_rank", batch.first_stage_rank),
        pl.Series("query", pl.select(queries.repeat_by(sizes).explode()).to_series()),
        pl.Series("text", pl.from_arrow(batch.texts)),
    )
