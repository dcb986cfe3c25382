"""Row groups are read in runs, and runs in batches that suit the size of their rows."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.tables import write

from pipeline.source.batch_reader import BatchLimits, BatchReader, leaves_of, runs_of
from pipeline.source.row_spans import RowSpans

FEW = pa.table({"id": range(12), "text": [f"text {number}" for number in range(12)]})


def opened(table: pa.Table, folder: Path, row_group_size: int = 3) -> pq.ParquetFile:
    return pq.ParquetFile(write(table, folder / "in.parquet", row_group_size=row_group_size))


@pytest.mark.parametrize(
    ("max_run_rows", "finished", "runs"),
    [
        (100, [], [([0, 1, 2, 3], False)]),
        (6, [], [([0, 1], False), ([2, 3], False)]),
        (5, [], [([0], False), ([1], False), ([2], False), ([3], False)]),
        (1, [], [([0], False), ([1], False), ([2], False), ([3], False)]),
        (100, [(100, 106)], [([0, 1], True), ([2, 3], False)]),
        (100, [(103, 112)], [([0], False), ([1, 2, 3], True)]),
        (100, [(104, 109)], [([0, 1], False), ([2], True), ([3], False)]),
    ],
)
def test_a_run_holds_few_rows_or_one_row_group_and_ends_where_rows_are_finished(
    tmp_path: Path,
    max_run_rows: int,
    finished: list[tuple[int, int]],
    runs: list[tuple[list[int], bool]],
) -> None:
    with opened(FEW, tmp_path) as parquet:
        assert list(runs_of(parquet, 100, RowSpans(finished), max_run_rows)) == runs


def test_the_fields_of_nested_columns_are_named_by_their_paths(tmp_path: Path) -> None:
    table = pa.table({"id": [1], "hit": [{"doc": "a", "rank": 1}]})

    with opened(table, tmp_path) as parquet:
        assert leaves_of(parquet) == ["id", "hit.doc", "hit.rank"]


def test_only_the_columns_that_are_asked_for_are_read(tmp_path: Path) -> None:
    with opened(FEW, tmp_path) as parquet:
        reader = BatchReader(parquet, BatchLimits(max_id_rows=5))
        ids, wholes = (
            list(reader.iter_run([1, 3], columns, few_bytes=columns is not None))
            for columns in (["id"], None)
        )

    assert [batch.schema.names for batch in ids] == [["id"], ["id"]]
    assert [row for batch in ids for row in batch["id"].to_pylist()] == [3, 4, 5, 9, 10, 11]
    assert [batch.schema.names for batch in wholes] == [["id", "text"]]


def sizes(parquet: pq.ParquetFile, limits: BatchLimits, *, few_bytes: bool = False) -> list[int]:
    """Return the rows of each batch of a file whose row groups are read one after the other."""
    reader = BatchReader(parquet, limits)
    return [
        batch.num_rows
        for run in range(parquet.num_row_groups)
        for batch in reader.iter_run([run], None, few_bytes=few_bytes)
    ]


def texts(*lengths: int) -> pa.Table:
    """Return a table of 100 texts of each of these lengths."""
    return pa.table(
        {"text": [chr(97 + length % 7) * length for length in lengths for _ in "x" * 100]}
    )


def test_batches_have_at_most_so_many_rows(tmp_path: Path) -> None:
    with opened(texts(5), tmp_path, 100) as parquet:
        assert sizes(parquet, BatchLimits(max_rows=40)) == [40, 40, 20]
        assert sizes(parquet, BatchLimits(max_rows=40, max_id_rows=60), few_bytes=True) == [60, 40]
        assert sizes(parquet, BatchLimits(max_bytes=1)) == [1] * 100


def test_rows_make_smaller_batches_by_what_they_hold_decoded(tmp_path: Path) -> None:
    """A text that comes again and again takes hardly any bytes in the file."""
    with opened(texts(9_996, 996, 996), tmp_path, 100) as parquet:
        found = sizes(parquet, BatchLimits(max_bytes=50_900))

    assert found[:20] == [5] * 20, "by a probe"
    assert found[20:40] == [5] * 20, "by the run before"
    assert found[40:] == [50, 50]


def row_groups(tables: list[pa.Table], folder: Path) -> pq.ParquetFile:
    """Write one row group for each table."""
    with pq.ParquetWriter(folder / "in.parquet", tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
    return pq.ParquetFile(folder / "in.parquet")


def test_a_run_of_one_row_tells_how_much_the_next_ones_hold(tmp_path: Path) -> None:
    table = texts(9_996)

    with row_groups([table[:1], table], tmp_path) as parquet:
        assert sizes(parquet, BatchLimits(max_bytes=50_900)) == [1] + [5] * 20


def test_a_row_group_may_have_no_rows(tmp_path: Path) -> None:
    with row_groups([FEW[:0], FEW[:3]], tmp_path) as parquet:
        assert parquet.num_row_groups == 2
        assert sum(sizes(parquet, BatchLimits())) == 3


def test_the_footer_tells_of_long_rows_after_short_ones(tmp_path: Path) -> None:
    long = [f"{number:>10000}" for number in range(50)]

    with opened(pa.table({"text": ["short"] * 50 + long}), tmp_path, 100) as parquet:
        assert max(sizes(parquet, BatchLimits(max_bytes=50_000))) <= 10


def test_batches_suit_what_the_chosen_columns_hold(tmp_path: Path) -> None:
    table = texts(9_996).append_column("id", pa.array(range(100)))

    with opened(table, tmp_path, 100) as parquet:
        reader = BatchReader(parquet, BatchLimits(max_bytes=50_900))
        batches = [batch.num_rows for batch in reader.iter_run([0], ["id"], few_bytes=False)]

    assert batches == [100]
