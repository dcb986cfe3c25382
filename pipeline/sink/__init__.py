"""Parquet out: the parts of an output, each written whole, its presence its commit."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace

from pipeline.records import Ranking
from pipeline.sink.borders import PartBorders
from pipeline.sink.part_info import (
    GROUPS_FOLDER,
    METADATA_KEY,
    REJECTS_FOLDER,
    PartInfo,
    part_name,
    part_sizes,
    read_part_infos,
)
from pipeline.sink.tables import iter_candidates, make_group_tables
from pipeline.storage import Location

__all__ = ["PartBorders", "PartInfo", "Sink", "read_part_infos"]

SUCCESS_NAME = "_SUCCESS"


class Sink:
    """Writes the parts of one output, and marks it as finished. All methods block.

    Same rankings, same bytes: nothing of the clock, the machine or the run is in a file. Parts
    may be written at once and in any order; one part is written by one caller at a time.

    Args:
        output: The output's folder.
        output_schema: The columns of a part, as the source says.
        fingerprint: Of the settings and the input; parts of others count as absent.
        top_n: How many candidates of a group are written; None is all.
    """

    def __init__(
        self,
        output: Location,
        output_schema: pa.Schema,
        *,
        fingerprint: str,
        top_n: int | None = None,
    ) -> None:
        self._output = output
        self._schema = output_schema
        self._fingerprint = fingerprint
        self._top_n = top_n
        self._success = output.child(SUCCESS_NAME)

    def read_part_infos(self) -> dict[int, PartInfo]:
        """The parts that need not be written again, by index in ascending order."""
        return read_part_infos(self._output, self._fingerprint)

    def is_finished(self) -> bool:
        """`_SUCCESS` is there: every part is, and every candidate is scored or skipped."""
        return self._success.exists()

    def write_part(self, index: int, rankings: Sequence[Ranking]) -> PartInfo:
        """Commit one part: the rankings of its groups, in input order.

        Of a part that is written anew the old file goes first and the new one comes last, so
        that no part ever stands beside the groups or rejects of another. `_SUCCESS` goes too.

        Raises:
            OutputFailed: if a file cannot be written; the part is then absent.
        """
        tables = make_group_tables(rankings, self._schema)
        info = _describe(index, rankings, self._fingerprint)
        groups_file = _encode(tables.groups)
        rejects_file = _encode(tables.rejects) if info.has_rejects else memoryview(b"")
        info = replace(info, groups_bytes=len(groups_file), rejects_bytes=len(rejects_file))
        part, groups, rejects = self._files(index)
        self._success.remove()
        part.remove()
        groups.publish(groups_file)
        if rejects_file:
            rejects.publish(rejects_file)
        else:
            rejects.remove()
        schema = self._schema.with_metadata({METADATA_KEY: info.to_json()})
        pieces = iter_candidates(rankings, self._schema, top_n=self._top_n)
        part.publish(_encode_pieces(schema, pieces))
        return info

    def finish(self, num_parts: int, *, complete: bool = True) -> None:
        """Leave exactly the parts 0 to `num_parts` - 1, and mark a complete output as such.

        An input without rows leaves one part without rows, which tells readers the columns.

        Args:
            num_parts: How many parts the output has; all are written.
            complete: Every candidate is scored or skipped, so `_SUCCESS` is written, last of all.

        Raises:
            OutputFailed: if something cannot be removed or written.
        """
        if num_parts == 0:
            self.write_part(0, [])
        folders = (
            self._output,
            self._output.child(GROUPS_FOLDER),
            self._output.child(REJECTS_FOLDER),
        )
        for folder in folders:
            for index in part_sizes(folder):
                if index >= max(num_parts, 1):
                    folder.child(part_name(index)).remove()
        if complete:
            self._success.publish(b"")
        else:
            self._success.remove()

    def _files(self, index: int) -> tuple[Location, Location, Location]:
        name = part_name(index)
        return (
            self._output.child(name),
            self._output.child(GROUPS_FOLDER, name),
            self._output.child(REJECTS_FOLDER, name),
        )


def _describe(index: int, rankings: Sequence[Ranking], fingerprint: str) -> PartInfo:
    groups = [ranking.group for ranking in rankings]
    num_candidates = sum(group.num_candidates for group in groups)
    return PartInfo(
        index=index,
        fingerprint=fingerprint,
        first_group=groups[0].index if groups else 0,
        num_groups=len(groups),
        first_row=groups[0].first_row if groups else 0,
        num_rows=num_candidates + sum(group.num_dropped for group in groups),
        num_candidates=num_candidates,
        num_rejected=sum(ranking.num_rejected for ranking in rankings),
        num_skipped=sum(ranking.num_skipped for ranking in rankings),
        requests=sum(ranking.num_requests for ranking in rankings),
        total_tokens=sum(ranking.total_tokens for ranking in rankings),
        merge_status=dict(sorted(Counter(r.merge_status for r in rankings).items())),
    )


def _encode(table: pa.Table) -> memoryview:
    """A Parquet file in memory: it is complete before the first byte leaves."""
    stream = pa.BufferOutputStream()
    pq.write_table(table, stream, compression="zstd")
    return memoryview(stream.getvalue())


def _encode_pieces(schema: pa.Schema, pieces: Iterable[pa.Table]) -> memoryview:
    """The same of a table that comes in pieces, a row group each; only one is held at a time."""
    stream = pa.BufferOutputStream()
    # A dictionary of values that hardly come twice takes time and room.
    repetitive: Any = [name for name in schema.names if name not in ("doc_id", "relevance_score")]
    with pq.ParquetWriter(stream, schema, compression="zstd", use_dictionary=repetitive) as writer:
        for piece in pieces:
            writer.write_table(piece.replace_schema_metadata(schema.metadata))
    return memoryview(stream.getvalue())
