"""One part as the bytes of its files, complete in memory before any of them is written."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace

from pipeline.core.records import Ranking
from pipeline.output.part_info import METADATA_KEY, PartInfo
from pipeline.output.tables import candidates_table, groups_table, iter_pieces, rejects_table

_DISTINCT = ("doc_id", "relevance_score")
"""Columns whose values hardly repeat: a dictionary of them costs time and space."""


class PartEncoding:
    """The files of one part; the attributes exist once all `steps` are taken.

    Args:
        index: The part's number.
        rankings: Of its groups, in input order.
        output_schema: The columns of a part.
        fingerprint: Of the settings and the input.
        top_n: How many candidates of a group are written; None is all.
        piece_rows: Rows that are encoded in one step; see `iter_pieces`.

    Attributes:
        info: What the part's footer states.
        part: A row per candidate.
        groups: A row per group.
        rejects: A row per candidate without a score; empty if there are none.
    """

    info: PartInfo
    part: memoryview
    groups: memoryview
    rejects = memoryview(b"")

    def __init__(
        self,
        index: int,
        rankings: Iterable[Ranking],
        output_schema: pa.Schema,
        *,
        fingerprint: str,
        top_n: int | None,
        piece_rows: int,
    ) -> None:
        self.index = index
        self._rankings = rankings
        self._schema = output_schema
        self._fingerprint = fingerprint
        self._top_n = top_n
        self._piece_rows = piece_rows

    def steps(self) -> Iterator[None]:
        """Encode; a step takes some milliseconds if groups and passed-through strings are small."""
        stream = pa.BufferOutputStream()
        repetitive: Any = [name for name in self._schema.names if name not in _DISTINCT]
        with pq.ParquetWriter(
            stream, self._schema, compression="zstd", use_dictionary=repetitive
        ) as writer:
            rankings: list[Ranking] = []
            for piece in iter_pieces(self._rankings, self._piece_rows):
                writer.write_table(candidates_table(piece, self._schema, top_n=self._top_n))
                rankings += piece
                yield
            info = _describe(self.index, rankings, self._fingerprint)
            self.groups = _encode(groups_table(rankings, self._schema))
            if info.has_rejects:
                self.rejects = _encode(rejects_table(rankings, self._schema))
            sizes = {"groups_bytes": len(self.groups), "rejects_bytes": len(self.rejects)}
            self.info = replace(info, **sizes)
            writer.add_key_value_metadata({METADATA_KEY.decode(): self.info.to_json().decode()})
        self.part = memoryview(stream.getvalue())
        yield


def _describe(index: int, rankings: Sequence[Ranking], fingerprint: str) -> PartInfo:
    groups = [ranking.group for ranking in rankings]
    return PartInfo(
        index=index,
        fingerprint=fingerprint,
        first_group=groups[0].index if groups else 0,
        num_groups=len(groups),
        first_row=groups[0].first_row if groups else 0,
        num_rows=sum(group.num_rows for group in groups),
        num_candidates=sum(group.num_candidates for group in groups),
        num_rejected=sum(ranking.num_rejected for ranking in rankings),
        num_skipped=sum(ranking.num_skipped for ranking in rankings),
        requests=sum(ranking.num_requests for ranking in rankings),
        total_tokens=sum(ranking.total_tokens for ranking in rankings),
        merge_status=dict(sorted(Counter(r.merge_status for r in rankings).items())),
    )


def _encode(table: pa.Table) -> memoryview:
    stream = pa.BufferOutputStream()
    pq.write_table(table, stream, compression="zstd")
    return memoryview(stream.getvalue())
