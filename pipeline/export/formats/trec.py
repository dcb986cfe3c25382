"""A TREC run: `query_id Q0 doc_id rank score tag`, read by trec_eval, ir-measures and others.

The score is derived from the rank, since trec_eval sorts by score and keeps 32 bits of it: equal or
close scores would be reordered. A query of n documents has the scores n, n - 1, ..., 1.
"""

from typing import BinaryIO, ClassVar, Final

import polars as pl
import pyarrow as pa

from pipeline.core.errors import InputError
from pipeline.export.formats.writer import Shape
from pipeline.export.ids import without_repeats
from pipeline.export.json_text import text_bytes, to_frame

_EXACT_IN_32_BITS: Final = 1 << 24
_SEPARATES: Final = r"[\s\p{Cc}]|^$"
"""Characters that readers of TREC files take for the end of a column, and the empty id."""


class TrecWriter:
    """Writes a line per candidate; see `Writer`."""

    columns: ClassVar = ("query_id", "doc_id")

    def __init__(self, stream: BinaryIO, shape: Shape) -> None:
        self._stream = stream
        self._tag = shape.run_tag

    def write(self, rows: pa.Table) -> int:
        """Write rows of whole queries; a doc_id that occurs again in its query is left out."""
        ids = to_frame(rows.select(list(self.columns))).select(pl.all().cast(pl.String))
        for name in self.columns:
            _refuse_separators(ids, name)
        kept = without_repeats(ids, self.columns)
        place = pl.int_range(1, pl.len() + 1).over("query_id")
        lines = kept.select(
            pl.format(
                "{} Q0 {} {} {} {}\n",
                "query_id",
                "doc_id",
                place,
                pl.len().over("query_id") - place + 1,
                pl.lit(self._tag),
            )
        ).to_series()
        longest = kept.select(pl.col("query_id").rle().struct.field("len").max()).item()
        if longest is not None and longest >= _EXACT_IN_32_BITS:
            raise InputError("a query has too many documents for a TREC run", found=longest)
        self._stream.write(text_bytes(lines))
        return ids.height - kept.height

    def close(self) -> None:
        """Do nothing: a run ends with its last line."""


def _refuse_separators(ids: pl.DataFrame, name: str) -> None:
    found = ids.filter(pl.col(name).str.contains(_SEPARATES))
    if found.height:
        raise InputError(
            "a TREC run has columns separated by blanks, and an id that is empty or holds a blank"
            " or control character",
            which=f"query {found['query_id'][0]!r}"[:80],
            found=f"{name} {found[name][0]!r}"[:80],
            cure="export it as jsonl or parquet",
        )
