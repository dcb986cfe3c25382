"""What is known of the files of an input before a row is read."""

import hashlib
import json

import pyarrow as pa
import pytest
from support.tables import candidates, read_groups, write

from pipeline.source.listing import list_input
from pipeline.source.source import Source


def footer_digest(content: bytes) -> str:
    """Return the digest of the bytes from the file's metadata to its end."""
    size = int.from_bytes(content[-8:-4], "little") + 8
    return hashlib.sha256(content[-size:]).hexdigest()[:32]


@pytest.fixture
def tree(tmp_path):
    for number, name in enumerate(["b.parquet", "a/2.parquet", "a/1.parquet"]):
        write(candidates([1], query_id=pa.array([f"{number}"])), tmp_path / name)
    return tmp_path


def test_the_manifest_gets_path_size_rows_and_a_digest_of_the_footer(tree):
    write(candidates([1], query_id=["another"]), tree / "a/2.parquet")
    facts = list_input(str(tree / "a")).facts()

    assert [(fact["path"], fact["num_rows"]) for fact in facts] == [
        ("1.parquet", 1),
        ("2.parquet", 1),
    ]
    assert facts[0]["size_bytes"] == (tree / "a/1.parquet").stat().st_size
    assert facts[0]["footer_digest"] == footer_digest((tree / "a/1.parquet").read_bytes())
    assert facts[0]["footer_digest"] != facts[1]["footer_digest"]
    assert json.loads(json.dumps(facts)) == facts


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["2024-01-01", "x%20y"], pa.string(), ["2024-01-01", "x y"]),
        (["7", "-12"], pa.int64(), [-12, 7]),
        (["01", "1"], pa.string(), ["01", "1"]),
        (["%FE", "%FF"], pa.string(), ["%FE", "%FF"]),
        (["7", "__HIVE_DEFAULT_PARTITION__"], pa.int64(), [7, None]),
        (["9999999999999999999"], pa.string(), ["9999999999999999999"]),
    ],
)
def test_hive_folders_become_a_column(tmp_path, values, kind, expected):
    for number, value in enumerate(values):
        table = candidates([1], query_id=pa.array([f"{number}"]))
        write(table, tmp_path / f"key={value}" / "x.parquet")
    source = Source(list_input(str(tmp_path)))

    values = [group.output.candidates["key"][0].as_py() for group in read_groups(source)]

    assert source.output_schema.field("key").type == kind
    assert values == expected


def test_hive_folders_above_the_input_add_nothing(tmp_path):
    write(candidates(), tmp_path / "dt=2024-01-01" / "lang=en" / "x.parquet")

    for name, columns in (("dt=2024-01-01", {"lang"}), ("*", {"dt", "lang"})):
        (file,) = list_input(str(tmp_path / name)).files
        assert set(file.constants) == columns


def test_a_column_of_the_file_wins_over_its_folder(tmp_path):
    write(candidates([2], key=pa.array([1.5, 2.5])), tmp_path / "key=7" / "x.parquet")

    (group,) = read_groups(Source(list_input(str(tmp_path))))

    assert group.output.candidates["key"].to_pylist() == [1.5, 2.5]


def test_a_folder_may_hold_the_query_id(tmp_path):
    for value in ("a", "b"):
        table = candidates([2]).drop_columns(["query_id"])
        write(table, tmp_path / f"query_id={value}" / "x.parquet")
    source = Source(list_input(str(tmp_path)))

    assert source.count_groups() == 2
    assert [group.query_id for group in read_groups(source)] == ["a", "b"]
    assert [group.query_id for group in read_groups(source, start_row=2)] == ["b"]


@pytest.mark.parametrize(
    ("name", "beside"), [("part-00000.parquet", 2), ("all.parquet", 0), ("v2.parquet", 0)]
)
def test_files_of_such_a_name_beside_the_one_that_is_named_are_counted(tmp_path, name, beside):
    for other in ("part-00001.parquet", "part-7.parquet", "part-x.parquet", "all1.parquet", name):
        write(candidates([1]), tmp_path / other)

    assert list_input(str(tmp_path / name)).num_beside == beside
    assert list_input(str(tmp_path)).num_beside == 0
