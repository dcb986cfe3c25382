"""Repeated ids are counted exactly, wherever the reader cuts, and with the ids alone."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tables import candidates, open_source, read_groups, write

from pipeline.core.errors import InputError
from pipeline.source.batch_reader import BatchLimits
from pipeline.source.decoded_rows import DecodedIds
from pipeline.source.repeated_ids import RepeatedIds

GROUPS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=9), max_size=12)


def table_of(groups: list[list[Any]]) -> pa.Table:
    doc_ids = [doc_id for group in groups for doc_id in group]
    return candidates([len(group) for group in groups], doc_id=doc_ids or pa.array([], pa.int64()))


def nested(groups: list[list[dict[str, Any]]]) -> pa.Table:
    columns = {"query_id": [*range(len(groups))], "query": ["a query"] * len(groups)}
    return pa.table(columns | {"documents": groups})


@settings(deadline=None, max_examples=60)
@given(groups=GROUPS, rows=st.integers(1, 20), row_group=st.integers(1, 30))
def test_a_doc_id_counts_each_time_it_occurs_again_in_its_query(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[int]], rows: int, row_group: int
) -> None:
    path = tmp_path_factory.mktemp("in") / "in.parquet"
    limits = BatchLimits(max_id_rows=rows, max_run_rows=row_group)

    write(table_of(groups), path, row_group_size=row_group)
    checked = open_source(path, limits=limits).check_ids()

    again = sum(count - 1 for group in groups for count in Counter(group).values())
    assert (checked.num_groups, checked.num_repeated) == (len(groups), again)


def test_what_other_queries_have_too_is_not_repeated(tmp_path: Path) -> None:
    path = write(table_of([["a", "b"]] * 6 + [["a", "a"]]), tmp_path / "in.parquet")

    assert open_source(path).check_ids().num_repeated == 1


def test_queries_without_candidates_repeat_nothing() -> None:
    query_ids, doc_ids = pa.array([*"abccd"]), pa.array([None, None, "x", "x", None])
    repeated = RepeatedIds()

    repeated.add(DecodedIds(query_ids, np.arange(6), doc_ids))

    assert repeated.end() == 1


def test_only_the_first_queries_count_where_no_more_are_read(tmp_path: Path) -> None:
    path = write(table_of([["a", "a", "a"], ["b"], ["c", "d", "d"]]), tmp_path / "in.parquet")

    checked = open_source(path, max_queries=2).check_ids()

    assert (checked.num_groups, checked.num_repeated) == (2, 2)


NESTED: dict[str, pa.Table] = {
    "lists of structs": nested(
        [[{"doc_id": "a", "text": "x", "other": 1}] * 2, [], [{"doc_id": "a", "text": "y"}]]
    ),
    "ranked": nested([[{"text": "x", "doc_id": 7, "first_stage_rank": rank} for rank in (1, 2)]]),
    "a field is called as the list's own part": nested(
        [[{"element": 1, "doc_id": "a", "text": "x"}] * 2]
    ),
    "lists side by side": pa.table(
        {"query_id": ["q"], "query": ["a"], "doc_id": [["a", "a"]], "text": [["x", "y"]]}
    ),
    "a struct of lists": pa.table(
        {
            "query_id": ["q"],
            "query": ["a"],
            "documents": [{"doc_id": ["a", "a"], "text": ["x", "y"]}],
        }
    ),
}


@pytest.mark.parametrize("name", NESTED)
def test_nested_candidates_are_counted_whatever_holds_them(name: str, tmp_path: Path) -> None:
    path = write(NESTED[name], tmp_path / "in.parquet")

    assert open_source(path).check_ids().num_repeated == 1


def test_maps_of_ids_are_counted_too(tmp_path: Path) -> None:
    held = pa.array([[("a", "x"), ("a", "y")]], pa.map_(pa.string(), pa.string()))
    table = pa.table({"query_id": ["q"], "query": ["a query"], "documents": held})

    checked = open_source(write(table, tmp_path / "in.parquet"), layout="nested").check_ids()

    assert checked.num_repeated == 1


@pytest.mark.parametrize("column", ["query_id", "doc_id", "first_stage_rank"])
def test_a_null_is_refused_with_its_row(column: str, tmp_path: Path) -> None:
    values = [*range(39), None]
    table = candidates([4] * 10, **{column: pa.array(values)})
    source = open_source(write(table, tmp_path / "in.parquet", row_group_size=10))

    with pytest.raises(InputError, match=r"in\.parquet: null .*\(found row 39, query_id"):
        source.check_ids()


def test_nulls_in_columns_that_play_no_role_are_no_matter(tmp_path: Path) -> None:
    table = candidates(
        [2, 2],
        id=["a", "b", "c", "d"],
        doc_id=["c", None, None, None],
        other=[{"doc_id": None, "query_id": None}] * 4,
        **{"other.id": pa.nulls(4, pa.int8())},
    )
    source = open_source(write(table, tmp_path / "in.parquet"), columns={"doc_id": "id"})

    assert source.check_ids().num_repeated == 0


def test_the_texts_are_not_read(tmp_path: Path) -> None:
    tables = {
        "long": candidates([2], doc_id=["a", "a"], text=["a text", "a text"]),
        "nested": nested([[{"doc_id": "a", "text": "a text"}] * 2]),
    }
    for name, table in tables.items():
        path = write(table, tmp_path / f"{name}.parquet", compression="none")
        path.write_bytes(path.read_bytes().replace(b"a text", b"\xff" * 6))

        assert open_source(path).check_ids().num_repeated == 1, name
        with pytest.raises(InputError, match="not UTF-8"):
            read_groups(open_source(path))
