"""Groups from Parquet: the same whatever the cuts, and nothing unfit passes."""

import random
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tables import candidates, facts, groups_of, read_groups, write, write_cut

from pipeline.core.errors import InputError, OutputMismatch
from pipeline.source.listing import list_input
from pipeline.source.pieces import BatchLimits
from pipeline.source.source import Source

ANY_SIZES = st.lists(st.integers(1, 12), max_size=12)


def open_source(path: Path, **how) -> Source:
    return Source(list_input(str(path)), **how)


@settings(max_examples=80, deadline=None)
@given(
    sizes=ANY_SIZES,
    cuts=st.lists(st.integers(0, 60), max_size=5),
    row_group_size=st.integers(1, 40),
    max_rows=st.integers(1, 40),
    duplicates=st.sampled_from(["keep", "first"]),
    seed=st.integers(0, 99),
)
def test_groups_do_not_depend_on_how_the_rows_are_cut(
    sizes, cuts, row_group_size, max_rows, duplicates, seed
):
    doc_ids = random.Random(seed).choices("abcdefghijklm", k=sum(sizes))
    texts = [None if doc_id == "m" else doc_id * 3 for doc_id in doc_ids]
    table = candidates(
        sizes, doc_id=pa.array(doc_ids, pa.string()), text=pa.array(texts, pa.string())
    )
    with tempfile.TemporaryDirectory() as scratch:
        whole = write(table, Path(scratch) / "whole.parquet")
        folder = write_cut(table, Path(scratch) / "cut", cuts, row_group_size)
        if not table.num_rows:
            write(table, folder / "empty.parquet")
        how = {"with_text": True, "duplicates": duplicates}

        expected = read_groups(open_source(whole, **how))
        found = read_groups(open_source(folder, **how, limits=BatchLimits(max_rows=max_rows)))

    assert [facts(group) for group in found] == [facts(group) for group in expected]
    assert [group.output.num_rows for group in found] == sizes
    assert [group.output.first_row for group in found] == np.cumsum([0, *sizes])[:-1].tolist()


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    row_group_size=st.integers(1, 20),
    done=st.lists(st.booleans(), min_size=12, max_size=12),
    max_rows=st.integers(1, 20),
)
def test_finished_groups_are_left_out_and_the_others_are_the_same(
    sizes, row_group_size, done, max_rows
):
    offsets = np.cumsum([0, *sizes]).tolist()
    finished = [
        (offsets[number], offsets[number + 1]) for number in range(len(sizes)) if done[number]
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_cut(candidates(sizes), Path(scratch), [7, 8, 30], row_group_size)
        source = open_source(folder, limits=BatchLimits(max_rows=max_rows))

        every = read_groups(source)
        found = read_groups(source, finished=finished)

    expected = [group for group in every if not done[group.output.index]]
    assert [facts(group) for group in found] == [facts(group) for group in expected]


def test_reading_starts_at_the_start_row(tmp_path):
    source = open_source(write(candidates([2, 3, 4]), tmp_path / "in.parquet", row_group_size=2))

    (last,) = read_groups(source, start_row=5)

    assert (last.output.index, last.output.first_row, last.query_id) == (2, 5, "q2")


def test_a_start_row_within_a_query_says_that_the_input_has_changed(tmp_path):
    source = open_source(write(candidates([2, 3]), tmp_path / "in.parquet"))

    with pytest.raises(OutputMismatch, match="--restart"):
        read_groups(source, start_row=3)


def test_nothing_is_read_after_the_last_unfinished_row(tmp_path):
    write(candidates([3]), tmp_path / "a.parquet")
    write(candidates([3], query_id=pa.array(["z"] * 3)), tmp_path / "b.parquet")
    source = open_source(tmp_path)
    (tmp_path / "b.parquet").unlink()

    (group,) = read_groups(source, finished=[(3, 6)])

    assert group.query_id == "q0"


def test_groups_are_counted_without_reading_texts(tmp_path):
    table = candidates([2, 1, 4], text=pa.array([b"\xff"] * 7))
    source = open_source(write_cut(table, tmp_path, [1, 3], 2))

    assert source.count_groups() == 3


def test_long_texts_make_smaller_batches(tmp_path):
    texts = pa.array([character * 10_000 for character in "abcd" * 100])
    source = open_source(
        write(candidates([1] * 400, text=texts), tmp_path / "in.parquet"),
        limits=BatchLimits(max_bytes=200_000),
    )

    sizes = [batch.texts.nbytes for batch in source.iter_batches()]

    assert max(sizes) < 400_000
    assert sum(sizes) > 4_000_000


def test_a_query_that_comes_back_is_refused_by_name(tmp_path):
    table = candidates([2, 2, 2], query_id=pa.array(["a", "a", "b", "b", "a", "a"]))
    folder = write_cut(table, tmp_path, [3], 2)

    for read in (read_groups, Source.count_groups):
        with pytest.raises(InputError, match=r"not adjacent .*'a'.*; sort the input by query_id"):
            read(open_source(folder))


def test_counting_that_is_stopped_reads_no_further_and_proves_nothing(tmp_path):
    table = candidates([1] * 50, query_id=pa.array([*range(49), 0]))
    source = open_source(write_cut(table, tmp_path, range(1, 50), 1))
    asked = iter([False, False])

    assert source.count_groups(lambda: next(asked, True)) == 3
    with pytest.raises(InputError, match="not adjacent"):
        read_groups(source)


def test_ids_are_not_kept_once_all_queries_are_known_to_be_whole(tmp_path):
    num_groups = 40_000
    source = open_source(write(candidates([1] * num_groups), tmp_path / "in.parquet"))

    def kept_bytes():
        tracemalloc.start()
        for batch in (batches := source.iter_batches()):
            if batch.first_group + batch.num_groups > num_groups * 3 // 4:
                del batch
                kept, _ = tracemalloc.get_traced_memory()
                break
        batches.close()
        tracemalloc.stop()
        return kept

    unknown = kept_bytes()
    source.count_groups()
    known = kept_bytes()

    assert unknown - known > 8 * num_groups // 2


def test_a_query_that_comes_back_after_finished_rows_is_refused_too(tmp_path):
    table = candidates([2, 2, 2], query_id=pa.array(["a", "a", "b", "b", "a", "a"]))
    source = open_source(write(table, tmp_path / "in.parquet"))

    with pytest.raises(InputError, match="not adjacent"):
        read_groups(source, start_row=4)


@pytest.mark.parametrize("ids", [[-1, -2], [0, -1], [2**63 - 1, -(2**63)]])
def test_neighbouring_integer_ids_are_not_taken_for_each_other(tmp_path, ids):
    source = open_source(
        write(candidates([1, 1], query_id=pa.array(ids, pa.int64())), tmp_path / "in.parquet")
    )

    assert [group.query_id for group in read_groups(source)] == ids


def test_a_null_query_takes_the_text_of_its_group(tmp_path):
    queries = pa.array([None, "one", None, None, None, "", " "])
    ids = pa.array(["a", "a", "a", "b", "b", "c", "d"])
    table = candidates([7], query=queries, query_id=ids)
    source = open_source(write_cut(table, tmp_path, [1, 4], 2))

    assert [group.query for group in read_groups(source)] == ["one", None, "", " "]


def test_two_query_texts_under_one_id_are_refused_by_name(tmp_path):
    table = candidates([1, 3], query=pa.array(["x", "one", None, "two"]))
    source = open_source(write(table, tmp_path / "in.parquet", row_group_size=1))

    with pytest.raises(InputError, match=r"'q1'.*two different query texts"):
        read_groups(source)


@pytest.mark.parametrize("column", ["query_id", "doc_id"])
def test_a_null_id_is_refused_with_its_row(tmp_path, column):
    table = candidates([2, 2], **{column: pa.array(["a", "b", None, "c"])})
    source = open_source(write(table, tmp_path / "in.parquet"))

    with pytest.raises(InputError, match=rf"in\.parquet: null {column} \(found row 2, query_id"):
        read_groups(source)


def test_a_missing_rank_is_the_place_in_the_input(tmp_path):
    source = open_source(write(candidates([2, 3]), tmp_path / "in.parquet", row_group_size=3))

    ranks = [group.first_stage_rank.tolist() for group in read_groups(source)]

    assert ranks == [[1, 2], [1, 2, 3]]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.int64()])
def test_ranks_of_the_input_are_kept(tmp_path, kind):
    table = candidates([3], first_stage_rank=pa.array([7, 0, 7], kind))
    (group,) = read_groups(open_source(write(table, tmp_path / "in.parquet")))

    assert group.first_stage_rank.tolist() == [7, 0, 7]
    assert group.first_stage_rank.dtype == np.int32


@pytest.mark.parametrize(
    ("ranks", "message"), [([1, None], r"null in column .*row 1"), ([1, 2**40], "over 32 bits")]
)
def test_ranks_that_are_none_are_refused(tmp_path, ranks, message):
    table = candidates([2], first_stage_rank=pa.array(ranks, pa.int64()))
    source = open_source(write(table, tmp_path / "in.parquet"))

    with pytest.raises(InputError, match=message):
        read_groups(source)


def test_repeats_are_dropped_within_a_query_only_and_ranks_keep_their_places(tmp_path):
    table = candidates([4, 2], doc_id=pa.array(["a", "b", "a", "c", "a", "a"]))
    source = open_source(write(table, tmp_path / "in.parquet"), duplicates="first")

    one, two = read_groups(source)

    assert one.output.rows["doc_id"].to_pylist() == ["a", "b", "c"]
    assert one.first_stage_rank.tolist() == [1, 2, 4]
    assert one.texts.to_pylist() == ["text 0 0", "text 0 1", "text 0 3"]
    assert two.output.rows["doc_id"].to_pylist() == ["a"]
    assert (two.output.first_row, two.output.num_rows, two.num_candidates) == (4, 2, 1)


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.uint8(), pa.int16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()]
)
def test_integer_ids_keep_type_and_value(tmp_path, kind):
    width = kind.bit_width
    top = 2 ** (width - pa.types.is_signed_integer(kind)) - 1
    ids = pa.array([top, top - 1, 0], kind)
    source = open_source(
        write(candidates([1, 1, 1], query_id=ids, doc_id=ids), tmp_path / "in.parquet")
    )

    groups = read_groups(source)

    assert [group.query_id for group in groups] == [top, top - 1, 0]
    assert [group.output.rows["doc_id"][0].as_py() for group in groups] == [top, top - 1, 0]
    assert source.output_schema.field("query_id").type == kind
    assert source.output_schema.field("doc_id").type == kind


@pytest.mark.parametrize(
    ("kind", "becomes"),
    [
        (pa.string(), pa.string()),
        (pa.large_string(), pa.large_string()),
        (pa.string_view(), pa.string()),
        (pa.dictionary(pa.int8(), pa.string()), pa.string()),
        # The reader itself makes the small type of a large dictionary.
        (pa.dictionary(pa.int32(), pa.large_string()), pa.string()),
        (pa.binary(), pa.string()),
    ],
)
def test_odd_strings_survive_in_every_string_type(tmp_path, kind, becomes):
    odd = pa.array(["007", "7", " 7", "", "a\0b", "é\n\u202e", "NaN"])
    column = odd.cast(pa.binary()) if kind == pa.binary() else odd.cast(kind)
    if pa.types.is_dictionary(kind):
        column = odd.cast(kind.value_type).dictionary_encode().cast(kind)
    names = dict.fromkeys(("query_id", "query", "doc_id", "text"), column)
    source = open_source(
        write(candidates([1] * 7, **names), tmp_path / "in.parquet"), with_text=True
    )

    groups = read_groups(source)

    assert [group.query_id for group in groups] == odd.to_pylist()
    assert [group.query for group in groups] == odd.to_pylist()
    assert [group.texts[0].as_py() for group in groups] == odd.to_pylist()
    assert all(group.texts.type == pa.large_string() for group in groups)
    assert {source.candidate_schema.field(name).type for name in names} == {becomes}
    assert {group.output.rows.schema for group in groups} == {source.candidate_schema}


@pytest.mark.parametrize("kind", [pa.binary(), pa.string(), pa.string_view()])
@pytest.mark.parametrize("column", ["query_id", "query", "doc_id", "text"])
def test_bytes_that_are_not_utf8_are_refused_with_column_and_row(tmp_path, column, kind):
    raw = pa.array([b"good", b"bad \xff"])
    if kind != pa.binary():
        raw = pa.Array.from_buffers(pa.string(), 2, raw.buffers()).cast(pa.string())
    source = open_source(
        write(candidates([1, 1], **{column: raw}), tmp_path / "in.parquet"), with_text=True
    )

    with pytest.raises(InputError, match=rf"column '{column}' is not UTF-8 \(found row 1"):
        read_groups(source)


def test_a_table_that_pandas_left_without_types_is_an_empty_input(tmp_path):
    nothing = pa.table({name: pa.nulls(0) for name in ("query_id", "query", "doc_id", "text")})
    source = open_source(write(nothing, tmp_path / "in.parquet"))

    assert read_groups(source) == []
    assert source.count_groups() == 0
    assert source.output_schema.field("query_id").type == pa.string()


def test_a_null_column_of_texts_means_that_there_are_none(tmp_path):
    (group,) = read_groups(
        open_source(write(candidates([2], text=pa.nulls(2)), tmp_path / "in.parquet"))
    )

    assert group.texts.to_pylist() == [None, None]


def test_groups_of_one_piece_share_the_memory_of_the_file(tmp_path):
    source = open_source(write(candidates([2, 2, 2]), tmp_path / "in.parquet"))

    first, *_ = source.iter_batches()
    groups = groups_of([first])

    assert {group.texts.buffers()[2].address for group in groups} == {
        first.texts.buffers()[2].address
    }


def test_a_file_that_breaks_while_it_is_read_is_named(tmp_path):
    path = write(candidates([50] * 20), tmp_path / "in.parquet", compression="none")
    source = open_source(path)
    content = bytearray(path.read_bytes())
    content[200:4000] = b"\x5a" * 3800
    path.write_bytes(content)

    with pytest.raises(InputError, match=r"in\.parquet: .*damaged"):
        read_groups(source)


def test_a_file_that_vanishes_after_the_listing_is_named(tmp_path):
    path = write(candidates(), tmp_path / "in.parquet")
    source = open_source(path)
    path.unlink()

    with pytest.raises(InputError, match=r"in\.parquet: no such file"):
        read_groups(source)
