"""A written output, opened again."""

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.made_outputs import write_candidates, write_output

from pipeline.core.errors import InputError, OutputMismatch
from pipeline.output.reader import open_output

QUERIES = {"q1": ["a", "b", "c"], "q2": ["a"], "q3": ["x", "y"]}


@pytest.fixture
def candidates(tmp_path: Path) -> Path:
    return write_candidates(QUERIES, tmp_path / "in.parquet")


def test_parts_come_in_order_with_the_columns_that_were_asked_for(
    candidates: Path, output: Path
) -> None:
    write_output(candidates, output, {"q1": [0.1, 0.2, 0.3]})

    parts = list(open_output(str(output)).iter_parts(["query_id", "rank", "doc_id"]))

    assert [part["query_id"].to_list() for part in parts] == [["q1"] * 3 + ["q2"], ["q3"] * 2]
    assert parts[0].columns == ["query_id", "rank", "doc_id"]
    assert parts[0]["doc_id"].to_list() == ["c", "b", "a", "a"]


def test_an_output_is_finished_with_success_and_all_parts(candidates: Path, output: Path) -> None:
    write_output(candidates, output, groups_per_part=1)
    assert open_output(str(output)).is_finished

    (output / "part-00001.parquet").unlink()

    assert not open_output(str(output)).is_finished


def test_an_output_without_success_is_not_finished(candidates: Path, output: Path) -> None:
    write_output(candidates, output, parts=1)

    found = open_output(str(output))

    assert len(found.parts) == 1
    assert not found.is_finished


@pytest.mark.parametrize(("top_n", "is_cut"), [(None, False), (3, False), (2, True)])
def test_an_output_is_cut_if_a_query_had_more_candidates_than_top_n(
    top_n: int | None, is_cut: bool, candidates: Path, output: Path
) -> None:
    write_output(candidates, output, top_n=top_n)

    assert open_output(str(output)).is_cut() is is_cut


def test_a_folder_that_looks_like_a_partition_adds_no_column(
    candidates: Path, tmp_path: Path
) -> None:
    output = write_output(candidates, tmp_path / "rank=9" / "out")

    (part, _) = open_output(str(output)).iter_parts(["rank"])

    assert part["rank"].to_list() == [1, 2, 3, 1]


@pytest.mark.parametrize(
    ("name", "said"),
    [("none", "no such output"), ("in.parquet", "no _manifest.json"), (".", "no _manifest.json")],
)
def test_what_is_no_output_is_refused(
    name: str, said: str, candidates: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        open_output(str(tmp_path / name))


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(InputError, match="no folder is named"):
        open_output("")


def test_a_damaged_manifest_is_refused(candidates: Path, output: Path) -> None:
    write_output(candidates, output)
    (output / "_manifest.json").write_text("{}")

    with pytest.raises(OutputMismatch, match="is damaged"):
        open_output(str(output))


def test_a_part_that_vanishes_while_it_is_read_is_told(candidates: Path, output: Path) -> None:
    write_output(candidates, output)
    parts = open_output(str(output)).iter_parts(["rank"])
    next(parts)

    (output / "part-00001.parquet").unlink()

    with pytest.raises(InputError, match=r"part-00001\.parquet: cannot be read"):
        next(parts)


def test_a_part_without_a_column_is_told(candidates: Path, output: Path) -> None:
    write_output(candidates, output)

    with pytest.raises(InputError, match=r"missing columns \['note'\]"):
        next(open_output(str(output)).iter_parts(["note"]))


def test_rows_come_in_pieces_of_whole_queries(candidates: Path, output: Path) -> None:
    """A row group begins in the middle of a query where that has a million candidates."""
    write_output(candidates, output, {"q1": [0.1, 0.2, 0.3]}, groups_per_part=3)
    file = output / "part-00000.parquet"
    footer = {b"rerank": pq.read_metadata(file).metadata[b"rerank"]}
    pq.write_table(pq.read_table(file).replace_schema_metadata(footer), file, row_group_size=2)
    found = open_output(str(output))

    pieces = list(found.iter_rows(found.parts[0], ["doc_id", "query_id"]))

    assert [piece.to_pydict() for piece in pieces] == [
        {"doc_id": ["c", "b", "a", "a"], "query_id": ["q1"] * 3 + ["q2"]},
        {"doc_id": ["x", "y"], "query_id": ["q3"] * 2},
    ]
    assert all(piece.schema.metadata is None for piece in pieces)


def test_the_columns_are_those_of_the_parts_without_what_the_footer_says(
    candidates: Path, output: Path
) -> None:
    write_output(candidates, output)

    schema = open_output(str(output)).schema()

    assert schema.names == ["query_id", "doc_id", "rank", "relevance_score", "first_stage_rank"]
    assert schema.metadata is None


def test_pieces_end_between_queries_of_any_size(tmp_path: Path, output: Path) -> None:
    queries = {"q1": ["a", "b"], "q2": ["c", "d", "e"], "q3": ["f"], "q4": ["g", "h"]}
    write_output(write_candidates(queries, tmp_path / "few.parquet"), output, groups_per_part=4)
    file = output / "part-00000.parquet"
    footer = {b"rerank": pq.read_metadata(file).metadata[b"rerank"]}
    pq.write_table(pq.read_table(file).replace_schema_metadata(footer), file, row_group_size=3)
    found = open_output(str(output))

    pieces = found.iter_rows(found.parts[0], ["query_id"])

    assert [piece["query_id"].to_pylist() for piece in pieces] == [
        ["q1", "q1", "q2", "q2", "q2", "q3"],
        ["q4", "q4"],
    ]
    assert found.schema().names[0] == "query_id", "of an output with one part"


def test_rows_of_a_missing_column_are_refused_by_the_file(candidates: Path, output: Path) -> None:
    write_output(candidates, output)
    found = open_output(str(output))

    with pytest.raises(InputError, match=r"part-00000\.parquet: missing columns \['note'\]"):
        next(found.iter_rows(found.parts[0], ["note"]))


def test_an_output_without_a_part_has_no_columns(candidates: Path, output: Path) -> None:
    write_output(candidates, output, parts=0)

    assert open_output(str(output)).schema().names == []


def test_groups_and_rejects_of_a_part_are_read_with_the_columns_asked_for(
    candidates: Path, output: Path
) -> None:
    write_output(candidates, output, {"q1": [0.1, None, 0.3]})
    found = open_output(str(output))

    groups = found.read_groups(found.parts[0], ["num_candidates", "query_id"])
    rejects = found.read_rejects(found.parts[0], ["doc_id"])

    assert groups.rows() == [(3, "q1"), (1, "q2")]
    assert rejects is not None
    assert rejects.rows() == [("b",)]
    assert found.read_rejects(found.parts[1], ["doc_id"]) is None


def test_importing_it_does_not_import_polars() -> None:
    code = "import sys, pipeline.output.reader; print('polars' in sys.modules)"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout == "False\n"
