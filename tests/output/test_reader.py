"""Columns of a result as a frame."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from support.tables import write

from pipeline.core.errors import InputError
from pipeline.output.reader import read_columns


def table(*ids: str) -> pa.Table:
    return pa.table({"query_id": ids, "rank": list(range(len(ids))), "more": [0.5] * len(ids)})


def test_columns_of_all_parts_come_in_the_order_of_the_parts(tmp_path: Path) -> None:
    write(table("a", "b"), tmp_path / "part-00000.parquet")
    write(table("c"), tmp_path / "part-00001.parquet")
    write(table("no"), tmp_path / "_groups" / "part-00000.parquet")
    (tmp_path / "_SUCCESS").touch()

    frame = read_columns(str(tmp_path), ("rank", "query_id"))

    assert frame.to_dict(as_series=False) == {"rank": [0, 1, 0], "query_id": ["a", "b", "c"]}


def test_one_file_is_read_too(tmp_path: Path) -> None:
    file = write(table("a"), tmp_path / "x.parquet")

    assert read_columns(str(file), ("query_id",))["query_id"].to_list() == ["a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file or folder"),
        ({}, "holds no Parquet file"),
        ({"part-00000.parquet": b"PAR1 no PAR1"}, "part-00000.parquet: cannot be read as Parquet"),
    ],
)
def test_what_cannot_be_read_is_refused(
    tmp_path: Path, content: dict[str, bytes] | None, message: str
) -> None:
    folder = tmp_path / "out"
    for name, data in (content or {}).items():
        folder.mkdir()
        (folder / name).write_bytes(data)
    if content == {}:
        folder.mkdir()

    with pytest.raises(InputError, match=message):
        read_columns(str(folder), ("query_id",))


def test_missing_columns_are_named(tmp_path: Path) -> None:
    file = write(table("a"), tmp_path / "x.parquet")

    with pytest.raises(InputError) as refused:
        read_columns(str(file), ("query_id", "doc_id"))

    assert "missing columns ['doc_id'] (found ['query_id', 'rank', 'more'])" in str(refused.value)


def test_importing_it_does_not_import_polars() -> None:
    code = "import sys, pipeline.output.reader; print('polars' in sys.modules)"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout == "False\n"
