"""What a group is made of: one query text, ranks, and candidates with or without repeats."""

import pyarrow as pa
import pytest
from support.tables import candidates, groups_of, open_source, read_groups, write, write_cut

from pipeline.core.errors import InputError


def test_a_null_query_takes_the_text_of_its_group(tmp_path):
    queries = pa.array([None, "one", None, None, None, "", " "])
    ids = pa.array(["a", "a", "a", "b", "b", "c", "d"])
    table = candidates([7], query=queries, query_id=ids)
    source = open_source(write_cut(table, tmp_path, [1, 4], 2))

    assert [group.query for group in read_groups(source)] == ["one", None, "", " "]


@pytest.mark.parametrize("row_group_size", [1, 9])
@pytest.mark.parametrize(
    ("cuts", "place"), [([], r"f000\.parquet: .*row 4"), ([1, 3], r"f002\.parquet: .*row 1")]
)
def test_two_query_texts_under_one_id_are_refused_with_file_and_row(
    tmp_path, row_group_size, cuts, place
):
    table = candidates([1, 5], query=pa.array(["x", None, "one", None, "two", "one"]))
    source = open_source(write_cut(table, tmp_path, cuts, row_group_size))

    with pytest.raises(InputError, match=rf"{place}, query_id 'q1'\); give each query text"):
        read_groups(source)


def test_the_query_with_two_texts_is_named_among_others(tmp_path):
    table = candidates([2, 3, 2, 2], query=pa.array([*"aabbcddee"]))

    with pytest.raises(InputError, match=r"row 4, query_id 'q1'"):
        read_groups(open_source(write(table, tmp_path / "in.parquet")))


@pytest.mark.parametrize(
    ("kind", "num_bytes"),
    [
        (pa.string(), [3, 3]),
        (pa.large_string(), [3, 3]),
        (pa.binary(), [3, 3]),
        (pa.large_binary(), [3, 3]),
        (pa.list_(pa.string()), [0, 0]),
    ],
    ids=str,
)
def test_the_bytes_of_a_groups_strings_are_those_of_its_values(tmp_path, kind, num_bytes):
    values = [["ab"], None, ["c"], ["def"]] if pa.types.is_list(kind) else ["ab", None, "c", "def"]
    table = candidates([3, 1], more=pa.array(values, kind))

    groups = read_groups(open_source(write(table, tmp_path / "in.parquet")))

    assert [group.output.passthrough_bytes for group in groups] == num_bytes


def test_nothing_is_dropped_of_queries_that_share_their_candidates(tmp_path):
    table = candidates([2] * 6, doc_id=pa.array(["a", "b"] * 6))

    groups = read_groups(open_source(write(table, tmp_path / "in.parquet"), duplicates="first"))

    assert [group.output.candidates["doc_id"].to_pylist() for group in groups] == [["a", "b"]] * 6


def test_a_missing_rank_is_the_place_in_the_input(tmp_path):
    source = open_source(write(candidates([2, 3]), tmp_path / "in.parquet", row_group_size=3))

    ranks = [group.first_stage_rank.tolist() for group in read_groups(source)]

    assert ranks == [[1, 2], [1, 2, 3]]


def test_repeats_are_dropped_within_a_query_only_and_ranks_keep_their_places(tmp_path):
    table = candidates([4, 2], doc_id=pa.array(["a", "b", "a", "c", "a", "a"]))
    source = open_source(write(table, tmp_path / "in.parquet"), duplicates="first")

    one, two = read_groups(source)

    assert one.output.candidates["doc_id"].to_pylist() == ["a", "b", "c"]
    assert one.first_stage_rank.tolist() == [1, 2, 4]
    assert one.texts.to_pylist() == ["text 0 0", "text 0 1", "text 0 3"]
    assert two.output.candidates["doc_id"].to_pylist() == ["a"]
    assert (two.output.first_row, two.output.num_rows, two.num_candidates) == (4, 2, 1)


def test_groups_of_one_piece_share_the_memory_of_the_file(tmp_path):
    source = open_source(write(candidates([2, 2, 2]), tmp_path / "in.parquet"))

    first, *_ = source.iter_batches()
    groups = groups_of([first])

    assert {group.texts.buffers()[2].address for group in groups} == {
        first.texts.buffers()[2].address
    }


@pytest.mark.parametrize(("characters", "batches"), [(100, [11, 1]), (60_000, [5, 6, 1])])
def test_half_a_megabyte_of_many_groups_is_copied_beside_one_that_pieces_cut_apart(
    tmp_path, characters, batches
):
    table = candidates([2] * 12, text=pa.array(["x" * characters] * 24))
    source = open_source(write_cut(table, tmp_path, [1], 24))

    assert [batch.num_groups for batch in source.iter_batches()] == batches
