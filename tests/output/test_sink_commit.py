"""A part is there or not: its presence is its commit, and `_SUCCESS` comes last of all."""

import errno
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tables import candidates, rank_by, read_groups, write

from pipeline.core.errors import OutputFailed, RerankError
from pipeline.core.groups import GroupOutput
from pipeline.output.part_borders import PartBorders, PartLimits
from pipeline.output.part_info import PartInfo, read_part_infos
from pipeline.output.pieces import PieceLimits
from pipeline.output.sink import Sink
from pipeline.source.listing import list_input
from pipeline.source.source import Source
from pipeline.storage.errors import StoreError
from pipeline.storage.local_files import LocalFiles
from pipeline.storage.location import Location, locate


@pytest.fixture
def source(tmp_path) -> Source:
    return Source(list_input(str(write(candidates([2, 1, 3]), tmp_path / "in.parquet"))))


@pytest.fixture
def sink(tmp_path, source) -> Sink:
    return Sink(locate(str(tmp_path / "out")), source.output_schema, fingerprint="f00d")


def rankings_of(source, *, rejected: bool = True):
    return [
        rank_by(group, [None if rejected else 0.1] + [0.5] * (group.num_candidates - 1))
        for group in read_groups(source)
    ]


def files(tmp_path) -> list[str]:
    output = tmp_path / "out"
    return sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file())


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_failure_at_any_step_leaves_no_visible_part(tmp_path, source, sink, monkeypatch, failing):
    sink.write_part(0, rankings_of(source))
    publish, calls = Location.publish, []

    def fail_at(location: Location, content) -> None:
        calls.append(location.path)
        if len(calls) == failing:
            raise OutputFailed("disk full", which=location.name)
        publish(location, content)

    monkeypatch.setattr(Location, "publish", fail_at)
    with pytest.raises(OutputFailed):
        sink.write_part(0, rankings_of(source))

    assert sink.read_part_infos() == {}
    assert "part-00000.parquet" not in files(tmp_path)
    assert [path.split("/out/")[1] for path in calls] == [
        "_groups/part-00000.parquet", "_rejects/part-00000.parquet", "part-00000.parquet",
    ][:failing]  # fmt: skip


def test_a_part_written_anew_without_rejects_removes_the_old_ones(tmp_path, source, sink):
    sink.write_part(0, rankings_of(source))
    assert "_rejects/part-00000.parquet" in files(tmp_path)

    sink.write_part(0, rankings_of(source, rejected=False))

    assert files(tmp_path) == ["_groups/part-00000.parquet", "part-00000.parquet"]


def test_the_same_rankings_give_the_same_bytes(tmp_path, source, sink):
    def written() -> dict[str, bytes]:
        sink.write_part(0, rankings_of(source))
        return {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path)}

    assert written() == written()


def test_success_is_withdrawn_when_a_part_is_written_again(tmp_path, source, sink):
    sink.write_part(0, rankings_of(source))
    sink.finish(1)
    assert sink.is_finished()

    sink.write_part(0, rankings_of(source))

    assert not sink.is_finished()
    assert "_SUCCESS" not in files(tmp_path)


def test_finishing_removes_stale_parts_and_then_marks_success(tmp_path, source, sink):
    for index in range(4):
        sink.write_part(index, rankings_of(source))

    sink.finish(2)

    assert files(tmp_path) == [
        "_SUCCESS",
        "_groups/part-00000.parquet", "_groups/part-00001.parquet",
        "_rejects/part-00000.parquet", "_rejects/part-00001.parquet",
        "part-00000.parquet", "part-00001.parquet",
    ]  # fmt: skip
    assert (tmp_path / "out" / "_SUCCESS").read_bytes() == b""


@pytest.mark.parametrize("lost", ["part-00000.parquet", "_groups/part-00000.parquet"])
def test_an_output_of_which_a_part_was_removed_is_not_marked(tmp_path, source, sink, lost):
    for index in range(2):
        sink.write_part(index, rankings_of(source))
    (tmp_path / "out" / lost).unlink()

    with pytest.raises(RerankError, match=f"{lost}: was removed while the run was going"):
        sink.finish(2)

    assert not sink.is_finished()


def test_an_output_with_too_many_rejects_is_not_marked(tmp_path, source, sink):
    sink.write_part(0, rankings_of(source))
    sink.finish(1)

    sink.finish(1, complete=False)

    assert not sink.is_finished()


def test_an_input_without_rows_gives_an_output_that_readers_can_open(tmp_path):
    path = write(candidates([]), tmp_path / "in.parquet")
    source = Source(list_input(str(path)), with_text=True)
    sink = Sink(locate(str(tmp_path / "out")), source.output_schema, fingerprint="f00d")

    sink.finish(0)

    assert files(tmp_path) == ["_SUCCESS", "_groups/part-00000.parquet", "part-00000.parquet"]
    table = pq.read_table(tmp_path / "out")
    assert table.num_rows == 0
    assert table.column_names == source.output_schema.names
    assert sink.read_part_infos()[0].num_groups == 0


def test_an_input_that_lost_its_rows_leaves_no_part_of_before(tmp_path, source, sink):
    for index in range(3):
        sink.write_part(index, rankings_of(source))

    sink.finish(0)

    assert files(tmp_path) == ["_SUCCESS", "_groups/part-00000.parquet", "part-00000.parquet"]
    assert pq.read_table(tmp_path / "out" / "part-00000.parquet").num_rows == 0


def test_a_sink_of_other_columns_is_the_same_otherwise(tmp_path, source):
    output, columns = locate(str(tmp_path / "out")), pa.schema([("query_id", pa.string())])
    narrow = Sink(output, columns, fingerprint="f00d", top_n=1, piece_limits=PieceLimits(3))

    wide = narrow.with_schema(source.output_schema)
    wide.write_part(0, rankings_of(source))

    assert list(narrow.read_part_infos()) == [0]
    parquet = pq.ParquetFile(tmp_path / "out" / "part-00000.parquet")
    with parquet:
        assert (parquet.num_row_groups, parquet.metadata.num_rows) == (2, 3)


def test_files_are_compressed_and_repeated_values_stand_in_a_dictionary(tmp_path, source, sink):
    sink.write_part(0, rankings_of(source))

    for name in files(tmp_path):
        columns = pq.read_metadata(tmp_path / "out" / name).row_group(0).to_dict()["columns"]
        assert {column["compression"] for column in columns} == {"ZSTD"}
        if name == "part-00000.parquet":
            indexed = {c["path_in_schema"] for c in columns if c["has_dictionary_page"]}
            assert indexed == {"query_id", "rank", "first_stage_rank"}


def test_only_whole_readable_parts_of_this_fingerprint_count(tmp_path, source, sink):
    output = tmp_path / "out"
    for index in (0, 1, 2, 3, 4, 5, 10, 11):
        sink.write_part(index, rankings_of(source))
    for damaged in ("_groups/part-00010.parquet", "_rejects/part-00011.parquet"):
        (output / damaged).write_bytes((output / damaged).read_bytes()[:-1])
    (output / "_groups" / "part-00001.parquet").unlink()
    (output / "_rejects" / "part-00002.parquet").unlink()
    (output / "part-00003.parquet").write_bytes(b"PAR1 not a table PAR1")
    other = Sink(locate(str(output)), source.output_schema, fingerprint="beef")
    other.write_part(4, rankings_of(source))
    shutil.copy(output / "part-00005.parquet", output / "part-00007.parquet")
    shutil.copy(output / "_groups" / "part-00005.parquet", output / "_groups/part-00007.parquet")
    pq.write_table(pa.table({"a": [1]}), output / "part-00008.parquet")

    assert list(sink.read_part_infos()) == [0, 5]
    assert list(other.read_part_infos()) == [4]


def test_an_output_that_is_not_there_has_no_parts(sink):
    assert sink.read_part_infos() == {}
    assert not sink.is_finished()


def outputs_of(source):
    return [group.output for group in read_groups(source)]


def place_all(groups, groups_per_part, finished=(), limits=None):
    borders = PartBorders(groups_per_part, finished, limits=limits)
    return [borders.place(group) for group in groups]


def test_a_part_ends_with_its_last_group(tmp_path):
    source = Source(list_input(str(write(candidates([1] * 5), tmp_path / "in.parquet"))))

    placed = place_all(outputs_of(source), 2)

    assert placed == [(0, False), (0, True), (1, False), (1, True), (2, False)]


def test_a_part_ends_with_many_rows_or_much_text(tmp_path):
    table = candidates([3, 1, 1, 1], text=["x" * 10] * 6)
    listing = list_input(str(write(table, tmp_path / "in.parquet")))
    plain, full = (outputs_of(Source(listing, with_text=with_text)) for with_text in (0, 1))

    def ends(groups, limits):
        return [ends for _, ends in place_all(groups, 9, limits=limits)]

    assert ends(plain, PartLimits(max_candidates=4)) == [False, True, False, False]
    assert ends(full, PartLimits(max_bytes=30)) == [True, False, True, False]
    assert ends(plain, PartLimits(max_bytes=30)) == [False] * 4


def test_a_part_ends_as_soon_as_it_holds_as_many_bytes_as_it_may():
    borders = PartBorders(9, limits=PartLimits(max_bytes=30))

    assert [borders.place_sizes(index, 1, 10)[1] for index in range(4)] == [
        False,
        False,
        True,
        False,
    ]


@settings(deadline=None)
@given(
    num_groups=st.integers(0, 30),
    groups_per_part=st.integers(1, 7),
    done=st.sets(st.integers(0, 30)),
)
def test_a_resumed_job_cuts_the_same_parts(num_groups, groups_per_part, done):
    groups = [_group(index) for index in range(num_groups)]
    every = place_all(groups, groups_per_part)
    finished = [
        PartInfo(
            index=index, fingerprint="", first_group=index * groups_per_part,
            num_groups=len([part for part, _ in every if part == index]), first_row=0, num_rows=0,
        )
        for index in done & {part for part, _ in every}
    ]  # fmt: skip
    left = [group for group, (part, _) in zip(groups, every, strict=True) if part not in done]

    placed = place_all(left, groups_per_part, finished)

    assert placed == [place for place in every if place[0] not in done]


def _group(index: int) -> GroupOutput:
    rows = pa.table({"query_id": ["q"], "doc_id": ["d"]})
    return GroupOutput(index, 0, 1, "q", rows, np.ones(1, np.int32), 0, 1)


class Unreadable(LocalFiles, frozen=True):
    """Files that may be listed but not opened; root may read anything of a real disk."""

    def open(self, path: str) -> pa.NativeFile:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_a_part_that_is_there_and_cannot_be_read_is_not_taken_for_absent(tmp_path, source, sink):
    sink.write_part(0, rankings_of(source))
    output = Location(Unreadable(), str(tmp_path / "out"), "out")

    with pytest.raises(OutputFailed, match=r"out/part-00000\.parquet: cannot be read: Permission"):
        read_part_infos(output, "f00d")


class Failing(LocalFiles, frozen=True):
    """Files that may be listed, and fail in one way when they are opened."""

    error: OSError

    def open(self, path: str) -> pa.NativeFile:
        raise self.error


def test_a_footer_that_arrow_cannot_read_is_damaged_but_an_answer_of_a_store_is_not(
    tmp_path, source, sink
):
    """Neither error has a number."""
    sink.write_part(0, rankings_of(source))

    def found(error: OSError) -> dict[int, PartInfo]:
        return read_part_infos(Location(Failing(error), str(tmp_path / "out"), "out"), "f00d")

    assert found(OSError("Couldn't deserialize thrift")) == {}
    with pytest.raises(OutputFailed, match="access denied"):
        found(StoreError("access denied"))
