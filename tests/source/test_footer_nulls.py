"""A null that the footers tell of is refused before a row is read."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.tables import candidates, read_groups, write

from pipeline.core.errors import InputError
from pipeline.source.listing import list_input
from pipeline.source.source import Source

SIZES = [4] * 10
NULL_AT = 33


def open_with_null(folder: Path, column: str, values: list[Any], **how: Any) -> Source:
    """Open two files; the second has a null in a column, in its fourth row group."""
    write(candidates([1], **{column: values[:1]}), folder / "0.parquet")
    values = [None if at == NULL_AT else value for at, value in enumerate(values)]
    table = candidates(SIZES, **{column: pa.array(values)})
    write(table, folder / "1.parquet", row_group_size=10, **how)
    columns = {"first_stage_rank": column} if column == "place" else {}
    return Source(list_input(str(folder), columns=columns), columns=columns)


VALUES: dict[str, list[Any]] = {
    "query_id": [f"r{row // 4}" for row in range(sum(SIZES))],
    "doc_id": [*range(sum(SIZES))],
    "first_stage_rank": [*range(sum(SIZES))],
    "place": [*range(sum(SIZES))],
}


@pytest.mark.parametrize("column", VALUES)
def test_a_null_is_refused_with_its_row_when_the_input_is_opened(
    tmp_path: Path, column: str
) -> None:
    with pytest.raises(InputError, match=rf"1\.parquet: null .*\(found row {NULL_AT}, query_id"):
        open_with_null(tmp_path, column, VALUES[column])


@pytest.mark.parametrize("column", VALUES)
def test_without_statistics_it_is_refused_when_its_row_is_read(tmp_path: Path, column: str) -> None:
    source = open_with_null(tmp_path, column, VALUES[column], write_statistics=False)

    with pytest.raises(InputError, match=rf"1\.parquet: null .*\(found row {NULL_AT}, query_id"):
        read_groups(source)


def test_nulls_elsewhere_are_no_matter(tmp_path: Path) -> None:
    table = candidates(
        [2, 2],
        query=["one", None, None, None],
        text=["a", None, "", "b"],
        first_stage_score=[None, 1.5, None, None],
        other=[{"doc_id": None, "query_id": None}] * 4,
        place=pa.nulls(4, pa.int64()),
        **{"other.doc_id": pa.nulls(4, pa.int8())},
    )
    path = write(table, tmp_path / "in.parquet")

    assert len(read_groups(Source(list_input(str(path))))) == 2


def test_a_null_in_a_column_that_plays_no_role_is_no_matter(tmp_path: Path) -> None:
    table = candidates([2], id=["a", "b"], doc_id=["c", None])
    path, columns = write(table, tmp_path / "in.parquet"), {"doc_id": "id"}

    (group,) = read_groups(Source(list_input(str(path), columns=columns), columns=columns))

    assert group.output.candidates["doc_id"].to_pylist() == ["a", "b"]
    assert group.output.candidates["input_doc_id"].to_pylist() == ["c", None]
