"""One part as the bytes of its files, complete in memory before any of them is written."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace

from pipeline.core.records import Ranking
from pipeline.output.part_info import METADATA_KEY, PartInfo
from pipeline.output.pieces import PieceLimits, PieceQueue
from pipeline.output.tables import candidates_table, groups_table, rejects_table

_DISTINCT = ("doc_id", "relevance_score")
"""Columns whose values hardly repeat: a dictionary of them costs time and space."""


class PartEncoding:
    """The files of one part, which grow piece by piece; a piece is not needed once it is encoded.

    Args:
        index: The part's number.
        output_schema: The columns of a part.
        fingerprint: Of the settings and the input.
        top_n: How many candidates of a group are written; None is all.
        piece_limits: When a piece ends.

    Attributes:
        pieces: The rankings that wait to be encoded.
        info: What the part's footer states; complete after `finish`.
        part: A row per candidate; empty before `finish`.
        groups: A row per group; empty before `finish`.
        rejects: A row per candidate without a score; empty if there are none.
    """

    part = groups = rejects = memoryview(b"")

    def __init__(
        self,
        index: int,
        output_schema: pa.Schema,
        *,
        fingerprint: str,
        top_n: int | None,
        piece_limits: PieceLimits,
    ) -> None:
        self.pieces = PieceQueue(piece_limits)
        self.info = PartInfo(
            index=index,
            fingerprint=fingerprint,
            first_group=0,
            num_groups=0,
            first_row=0,
            num_rows=0,
        )
        self._schema = output_schema
        self._top_n = top_n
        self._groups = [groups_table([], output_schema)]
        self._rejects = [rejects_table([], output_schema)]
        self._stream = pa.BufferOutputStream()
        repetitive: Any = [name for name in output_schema.names if name not in _DISTINCT]
        self._writer = pq.ParquetWriter(
            self._stream, output_schema, compression="zstd", use_dictionary=repetitive
        )

    @property
    def size_bytes(self) -> int:
        """Bytes of the candidates that are encoded."""
        return len(self.part) or self._stream.tell()

    def encode(self, rankings: Sequence[Ranking]) -> None:
        """Encode the rankings of the next piece.

        This takes some milliseconds if groups and passed-through strings are small.
        """
        self._writer.write_table(candidates_table(rankings, self._schema, top_n=self._top_n))
        self._groups.append(groups_table(rankings, self._schema))
        if any(ranking.rejects for ranking in rankings):
            self._rejects.append(rejects_table(rankings, self._schema))
        self.info = _with_piece(self.info, rankings)

    def finish(self) -> None:
        """Complete the files once all pieces are encoded."""
        self.groups = _encode(self._groups)
        if self.info.has_rejects:
            self.rejects = _encode(self._rejects)
        sizes = {"groups_bytes": len(self.groups), "rejects_bytes": len(self.rejects)}
        self.info = replace(self.info, **sizes)
        self._writer.add_key_value_metadata({METADATA_KEY.decode(): self.info.to_json().decode()})
        self._writer.close()
        self.part = memoryview(self._stream.getvalue())


def _with_piece(info: PartInfo, rankings: Sequence[Ranking]) -> PartInfo:
    groups = [ranking.group for ranking in rankings]
    status = Counter(info.merge_status) + Counter(ranking.merge_status for ranking in rankings)
    is_first = not info.num_groups
    return replace(
        info,
        first_group=groups[0].index if is_first else info.first_group,
        num_groups=info.num_groups + len(groups),
        first_row=groups[0].first_row if is_first else info.first_row,
        num_rows=info.num_rows + sum(group.num_rows for group in groups),
        num_candidates=info.num_candidates + sum(group.num_candidates for group in groups),
        num_rejected=info.num_rejected + sum(ranking.num_rejected for ranking in rankings),
        num_skipped=info.num_skipped + sum(ranking.num_skipped for ranking in rankings),
        requests=info.requests + sum(ranking.num_requests for ranking in rankings),
        total_tokens=info.total_tokens + sum(ranking.total_tokens for ranking in rankings),
        merge_status=dict(sorted(status.items())),
    )


def _encode(tables: Sequence[pa.Table]) -> memoryview:
    stream = pa.BufferOutputStream()
    pq.write_table(pa.concat_tables(tables).combine_chunks(), stream, compression="zstd")
    return memoryview(stream.getvalue())
