"""An input is read from any position, and its queries are counted and known to be whole."""

import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.tables import candidates, facts, open_source, read_groups, write, write_cut

from pipeline.core.errors import InputError, OutputMismatch
from pipeline.source.batch_reader import BatchLimits
from pipeline.source.source import Source


def test_reading_starts_at_the_start_row(tmp_path):
    source = open_source(write(candidates([2, 3, 4]), tmp_path / "in.parquet", row_group_size=2))

    (last,) = read_groups(source, start_row=5)

    assert (last.output.index, last.output.first_row, last.query_id) == (2, 5, "q2")


def test_a_start_row_within_a_query_says_that_the_input_has_changed(tmp_path):
    source = open_source(write(candidates([2, 3]), tmp_path / "in.parquet"))

    with pytest.raises(OutputMismatch, match="--restart"):
        read_groups(source, start_row=3)


@pytest.mark.parametrize("finished", [(0, 2), (3, 4)])
def test_finished_rows_that_cut_a_query_say_that_the_input_has_changed(tmp_path, finished):
    source = open_source(write(candidates([3, 2, 1]), tmp_path / "in.parquet"))

    message = r"query_id 'q[01]': .* ends in the middle of a query; .*--restart"
    with pytest.raises(OutputMismatch, match=message):
        read_groups(source, finished=[finished])


def test_an_empty_id_is_an_id(tmp_path):
    ids = pa.array(["", "", "a"])
    path = write(candidates([3], query_id=ids), tmp_path / "in.parquet")

    outputs = [group.output for group in read_groups(open_source(path))]

    assert [(one.index, one.query_id, one.num_rows) for one in outputs] == [(0, "", 2), (1, "a", 1)]
    (first,) = read_groups(open_source(path, max_queries=1))
    assert first.query_id == ""


def test_groups_that_follow_a_larger_one_of_earlier_rows_know_their_rows(tmp_path):
    table = candidates([6, 1, 1, 1, 1])
    source = open_source(
        write(table, tmp_path / "in.parquet"), limits=BatchLimits(max_rows=4, max_run_rows=4)
    )

    groups = read_groups(source)

    assert [group.output.first_row for group in groups] == [0, 6, 7, 8, 9]


def test_a_group_that_has_not_ended_has_candidates_and_finished_rows_have_none(tmp_path):
    source = open_source(
        write(candidates([2, 4, 2]), tmp_path / "in.parquet"),
        limits=BatchLimits(max_rows=4, max_run_rows=4),
    )
    reading = source.read(finished=[(6, 8)])
    open_candidates = [reading.open_candidates]

    while (piece := reading.next_piece()) is not None:
        reading.make_groups(piece)
        open_candidates.append(reading.open_candidates)

    assert open_candidates == [0, 2, 4, 0]


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


@pytest.mark.parametrize("max_rows", [1, 4, 100])
@pytest.mark.parametrize("max_queries", [1, 2, 3, 4, 9])
def test_only_the_first_queries_are_read_however_their_rows_are_cut(
    tmp_path, max_queries, max_rows
):
    folder = write_cut(candidates([2, 3, 1, 2]), tmp_path, [4], 4)
    whole = [facts(group) for group in read_groups(open_source(folder))]
    limits = BatchLimits(max_rows=max_rows, max_id_rows=max_rows)

    source = open_source(folder, max_queries=max_queries, limits=limits)

    assert [facts(group) for group in read_groups(source)] == whole[:max_queries]
    assert [facts(group) for group in read_groups(source, finished=[(2, 6)])] == [
        of_group for of_group in whole[:max_queries] if of_group[0] not in (1, 2)
    ]
    assert source.count_groups() == min(max_queries, 4)


def test_a_query_that_comes_back_among_the_first_is_refused_with_its_file(tmp_path):
    table = candidates([4], query_id=pa.array([*"abac"]))
    path = write(table, tmp_path / "in.parquet")

    with pytest.raises(InputError, match=r"in\.parquet: .*not adjacent"):
        read_groups(open_source(path, max_queries=3))


def test_where_ids_are_enough_no_other_column_is_read(tmp_path):
    path = write(candidates([2, 2]), tmp_path / "in.parquet", row_group_size=2)
    texts = pq.read_metadata(path).row_group(0).column(3)
    content = bytearray(path.read_bytes())
    start = texts.dictionary_page_offset
    content[start : start + texts.total_compressed_size] = b"\xff" * texts.total_compressed_size
    path.write_bytes(content)
    source = open_source(path)

    assert (source.count_groups(), source.check_ids().num_groups) == (2, 2)
    assert [group.query_id for group in read_groups(source, finished=[(0, 2)])] == ["q1"]
    with pytest.raises(InputError):
        read_groups(source)


def test_a_query_that_comes_back_is_refused_by_name(tmp_path):
    table = candidates([2, 2, 2], query_id=pa.array(["a", "a", "b", "b", "a", "a"]))
    folder = write_cut(table, tmp_path, [3], 2)

    for read in (read_groups, Source.count_groups):
        message = r"f001\.parquet: .*not adjacent .*'a'.*; use --sort-input, or sort"
        with pytest.raises(InputError, match=message):
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
