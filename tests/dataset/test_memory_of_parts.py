"""Texts that pass through to the output stay in memory until their piece is encoded, no longer."""

import gc
from collections.abc import Iterator

import pyarrow as pa
from msgspec.structs import replace
from support.group_world import make_group
from support.tables import rank_by

from pipeline.core.records import Ranking
from pipeline.dataset.parts import OpenPart
from pipeline.output.part_encoding import PartEncoding
from pipeline.output.pieces import PieceLimits

SCHEMA = pa.schema([("query_id", pa.string()), ("doc_id", pa.string()), ("text", pa.string())])
NUM_GROUPS, GROUP_SIZE, TEXT_BYTES = 60, 10, 20_000
GROUP_BYTES = GROUP_SIZE * TEXT_BYTES
PIECE_BYTES = 5 * GROUP_BYTES


def rankings() -> Iterator[Ranking]:
    """Yield rankings whose texts nobody else holds."""
    scores = [place / GROUP_SIZE for place in range(GROUP_SIZE)]
    for index in range(NUM_GROUPS):
        ranking = rank_by(make_group(["text"] * GROUP_SIZE), scores)
        ids = pa.array([str(place) for place in range(GROUP_SIZE)])
        texts = pa.array(["x" * TEXT_BYTES] * GROUP_SIZE)
        group = replace(
            ranking.group,
            index=index,
            table=pa.table([ids, ids, texts], schema=SCHEMA),
            passthrough_bytes=GROUP_BYTES,
        )
        yield replace(ranking, group=group)


def test_few_pieces_of_a_part_are_in_memory_at_once() -> None:
    encoding = PartEncoding(
        0, SCHEMA, fingerprint="f00d", top_n=None, piece_limits=PieceLimits(max_bytes=PIECE_BYTES)
    )
    part, most = OpenPart(encoding, next_group=0), 0
    gc.collect()
    before = pa.total_allocated_bytes()

    for ranking in rankings():
        part.num_started += 1
        part.is_read = part.num_started == NUM_GROUPS
        part.add(ranking)
        del ranking
        while (piece := encoding.pieces.take(at_end=part.is_whole)) is not None:
            part.encode(piece.rankings)
        most = max(most, pa.total_allocated_bytes() - before)
    encoding.finish()

    assert encoding.info.num_groups == NUM_GROUPS
    assert most < 2 * PIECE_BYTES < NUM_GROUPS * GROUP_BYTES / 4
