"""Rows of a query are brought together, in the order in which queries first appear."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.source.prepare.sorting import hash_ids, sort_tables, sorted_places


@given(
    tables=st.lists(st.lists(st.sampled_from("abcde"), max_size=6), max_size=6),
    rows_per_bucket=st.integers(1, 8),
)
def test_rows_come_by_query_however_many_tables_and_buckets_there_are(
    tmp_path_factory: pytest.TempPathFactory, tables: list[list[str]], rows_per_bucket: int
) -> None:
    ids = [query_id for table in tables for query_id in table]
    first = {query_id: place for place, query_id in reversed([*enumerate(ids)])}
    given, row = list[pa.Table](), 0
    for table in tables:
        rows = range(row, row + len(table))
        given.append(pa.table({"id": pa.array(table, pa.string()), "row": pa.array(rows)}))
        row += len(table)
    folder = tmp_path_factory.mktemp("sorted") / "of" / "run"

    places = sorted_places(hash_ids(pa.array(ids, pa.string())))
    found = list(sort_tables(given, places, folder, rows_per_bucket=rows_per_bucket))

    assert [
        (i, r) for table in found for i, r in zip(*table.to_pydict().values(), strict=True)
    ] == (
        sorted(zip(ids, range(row), strict=True), key=lambda of_row: (first[of_row[0]], of_row[1]))
    )
    assert all(table.column_names == ["id", "row"] for table in found)
    assert all(table.num_rows <= rows_per_bucket for table in found)
    assert list(folder.iterdir()) == [], "what is read is removed"
