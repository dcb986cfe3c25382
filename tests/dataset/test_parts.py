"""Parts are encoded as their groups are ranked, and few candidates and bytes wait in them."""

import asyncio

import pyarrow as pa
from msgspec.structs import replace
from support.group_world import make_group
from support.tables import rank_by

from pipeline.core.records import Ranking
from pipeline.dataset.parts import OpenPart, PartAssembly
from pipeline.output.part_encoding import PartEncoding
from pipeline.output.pieces import PieceLimits

SCHEMA = pa.schema([("query_id", pa.string()), ("doc_id", pa.string())])


def begin(index: int) -> PartEncoding:
    return PartEncoding(
        index, SCHEMA, fingerprint="f00d", top_n=None, piece_limits=PieceLimits(max_rows=2)
    )


def ranking(index: int) -> Ranking:
    ranking = rank_by(make_group(["text"]), [0.5])
    return replace(ranking, group=replace(ranking.group, index=index))


def take(part: OpenPart) -> list[int] | None:
    """Take the next piece, and return its groups."""
    piece = part.encoding.pieces.take(at_end=part.is_whole)
    return piece if piece is None else [one.group.index for one in piece.rankings]


async def comes_to_rest() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_part_is_whole_when_all_of_its_groups_are_read_and_ranked() -> None:
    part = OpenPart(begin(0), first_group := 6)
    part.num_started = 2
    part.add(ranking(first_group + 1))
    assert not part.is_whole
    part.add(ranking(first_group))
    assert not part.is_whole
    part.is_read = True

    assert part.is_whole
    assert take(part) == [6, 7]


def test_a_piece_is_ready_once_the_groups_before_it_are_ranked() -> None:
    part = OpenPart(begin(0), 0)
    part.num_started = 4

    for index in (1, 2, 3):
        part.add(ranking(index))
        assert not part.is_ready
    part.add(ranking(0))

    assert part.is_ready
    assert [take(part) for _ in range(3)] == [[0, 1], [2, 3], None]
    assert not part.is_ready


def test_the_last_piece_is_ready_once_the_part_is_whole() -> None:
    part = OpenPart(begin(0), 0)
    part.num_started = 1
    part.add(ranking(0))
    assert not part.is_ready

    part.is_read = True

    assert part.is_ready
    part.is_taken = True
    assert not part.is_ready


async def test_another_part_is_opened_only_while_few_candidates_wait() -> None:
    assembly = PartAssembly(begin, max_candidates=10, max_bytes=1 << 20)
    first, second = await assembly.open(0, 0), await assembly.open(1, 1)
    first.num_candidates, second.num_candidates = 4, 6

    third = asyncio.create_task(assembly.open(2, 2))
    await comes_to_rest()
    assert not third.done()
    assembly.close(1)

    assert (await third).encoding.info.index == 2


async def test_another_part_is_opened_only_while_few_encoded_bytes_wait() -> None:
    one_part = begin(0).size_bytes
    assert one_part
    assembly = PartAssembly(begin, max_candidates=10, max_bytes=2 * one_part)
    await assembly.open(0, 0)
    await assembly.open(1, 1)

    third = asyncio.create_task(assembly.open(2, 2))
    await comes_to_rest()
    assert not third.done()
    assembly.close(0)

    assert (await third).encoding.info.index == 2


async def test_there_is_no_room_while_too_many_passed_through_bytes_wait() -> None:
    assembly = PartAssembly(begin, max_candidates=10, max_bytes=100)
    assembly.waiting_bytes += 99
    assert not assembly.is_full
    assembly.waiting_bytes += 1
    assert assembly.is_full

    waiting = asyncio.create_task(assembly.wait_for_room())
    await comes_to_rest()
    assert not waiting.done()
    assembly.free(1)

    await waiting
    assert not assembly.is_full
