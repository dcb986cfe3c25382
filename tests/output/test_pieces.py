"""Pieces of a part: whole queries, of few rows and bytes, by the input alone."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.group_world import make_group
from support.tables import rank_by

from pipeline.core.records import Ranking
from pipeline.output.pieces import PieceLimits, PieceQueue, RankedPiece

LIMITS = PieceLimits(max_rows=4, max_bytes=100)
SIZES = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 150)), max_size=20)


def ranking(index: int, num_candidates: int, num_bytes: int) -> Ranking:
    made = rank_by(make_group(["text"] * num_candidates), [0.5] * num_candidates)
    return replace(made, group=replace(made.group, index=index, passthrough_bytes=num_bytes))


def cut(sizes: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the groups of each piece, given the candidates and bytes of each group."""
    queue, pieces = PieceQueue(LIMITS), list[list[int]]()
    for index, (num_candidates, num_bytes) in enumerate(sizes):
        queue.add(ranking(index, num_candidates, num_bytes))
    while (piece := queue.take(at_end=True)) is not None:
        pieces.append([one.group.index for one in piece.rankings])
    return pieces


@pytest.mark.parametrize(
    ("sizes", "pieces"),
    [
        ([(3, 0), (1, 0), (4, 0), (2, 0), (5, 0), (1, 0)], [[0, 1], [2], [3, 4], [5]]),
        ([(1, 99), (1, 1), (1, 100), (1, 40), (1, 40)], [[0, 1], [2], [3, 4]]),
        ([(9, 900), (1, 0)], [[0], [1]]),
        ([], []),
    ],
)
def test_a_piece_ends_with_the_query_that_reaches_a_limit(
    sizes: list[tuple[int, int]], pieces: list[list[int]]
) -> None:
    assert cut(sizes) == pieces


@given(SIZES)
def test_pieces_hold_every_query_once_in_order_and_no_query_too_many(
    sizes: list[tuple[int, int]],
) -> None:
    pieces = cut(sizes)

    assert [index for piece in pieces for index in piece] == list(range(len(sizes)))
    for piece in pieces:
        assert sum(sizes[index][0] for index in piece[:-1]) < LIMITS.max_rows
        assert sum(sizes[index][1] for index in piece[:-1]) < LIMITS.max_bytes


def test_a_piece_can_be_taken_once_it_is_complete_or_the_part_ends() -> None:
    queue = PieceQueue(LIMITS)

    queue.add(ranking(0, 3, 20))
    assert not queue.has_complete
    assert queue.take(at_end=False) is None
    queue.add(ranking(1, 2, 30))
    queue.add(ranking(2, 1, 40))
    assert queue.has_complete

    first, second, last = (
        queue.take(at_end=False),
        queue.take(at_end=False),
        queue.take(at_end=True),
    )
    assert first is not None
    assert (len(first.rankings), first.num_candidates, first.num_bytes) == (2, 5, 50)
    assert second is None
    assert last is not None
    assert (len(last.rankings), last.num_candidates, last.num_bytes) == (1, 1, 40)
    assert queue.take(at_end=True) is None


@pytest.mark.parametrize(
    ("num_groups", "num_candidates", "num_bytes", "expected"),
    [
        (1_000, 100_000, 1 << 20, False),
        (10, 1_000_000, 0, True),
        (10_000, 10_000, 0, True),
        (10, 1_000, 8 << 20, True),
    ],
)
def test_a_piece_of_many_candidates_groups_or_bytes_takes_long(
    num_groups: int, num_candidates: int, num_bytes: int, *, expected: bool
) -> None:
    piece = RankedPiece([ranking(0, 1, 0)] * num_groups, num_candidates, num_bytes)

    assert piece.takes_long is expected
