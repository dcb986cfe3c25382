"""Ranges of rows are a set: what is in it, what is between, and from where on all is in it."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.source.row_spans import RowSpans

SPANS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=6)
ROWS = st.tuples(st.integers(0, 22), st.integers(0, 22)).map(sorted)


@given(SPANS, ROWS)
@example([(5, 5)], [0, 9])
@example([(2, 4), (4, 6)], [0, 9])
@example([(2, 9), (3, 5)], [0, 9])
@example([(1, 2), (3, 4), (5, 6)], [0, 9])
def test_a_range_is_split_where_rows_of_the_set_begin_and_end(
    spans: list[tuple[int, int]], rows: list[int]
) -> None:
    start, stop = rows
    inside = {row for first, end in spans for row in range(first, end)}

    pieces = list(RowSpans(spans).split(start, stop))

    assert all(first < end for first, end, _ in pieces)
    assert [row for first, end, _ in pieces for row in range(first, end)] == list(
        range(start, stop)
    )
    assert all(
        (row in inside) is is_in for first, end, is_in in pieces for row in range(first, end)
    )
    assert all(before[2] is not after[2] for before, after in pairwise(pieces))
    assert RowSpans(spans).covers(start, stop) == inside.issuperset(range(start, stop))


@given(SPANS, st.integers(0, 22))
@example([(2, 4), (4, 6)], 6)
@example([(2, 9)], 6)
@example([(7, 9)], 6)
def test_the_work_ends_with_the_last_row_that_is_not_in_the_set(
    spans: list[tuple[int, int]], num_rows: int
) -> None:
    inside = {row for first, end in spans for row in range(first, end)}

    assert RowSpans(spans).end_of_work(num_rows) == max(
        (row + 1 for row in range(num_rows) if row not in inside), default=0
    )
