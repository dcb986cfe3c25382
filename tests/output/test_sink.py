"""Parts, groups and rejects: the contract's columns, every candidate once, the same bytes."""

import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tables import candidates, rank_by, read_groups, write, write_cut

from pipeline.core.groups import Group
from pipeline.core.records import Ranking, Reject
from pipeline.output.part_info import PartInfo, read_part_infos
from pipeline.output.pieces import PieceLimits
from pipeline.output.sink import Sink
from pipeline.source.batch_reader import BatchLimits
from pipeline.source.listing import list_input
from pipeline.source.source import Source
from pipeline.storage.location import locate

SCORE = st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(-1e9, 1e9)


def open_sink(source: Source, output: Path, **how) -> Sink:
    return Sink(locate(str(output)), source.output_schema, fingerprint="f00d", **how)


def rerank(tmp_path, table, scores, *, top_n=None, limits=None, **how) -> list[Ranking]:
    """Write the output of a table as one part; `scores` has a list per group."""
    path = tmp_path / "in.parquet"
    source = Source(list_input(str(write(table, path))), limits=limits, **how)
    groups = read_groups(source)
    rankings = [rank_by(group, list(s)) for group, s in zip(groups, scores, strict=True)]
    open_sink(source, tmp_path / "out", top_n=top_n).write_part(0, rankings)
    return rankings


def read(tmp_path, folder: str = "") -> pa.Table:
    return pq.ParquetFile(tmp_path / "out" / folder / "part-00000.parquet").read()


def test_a_part_holds_every_candidate_in_its_new_order(tmp_path):
    table = candidates([2, 3], first_stage_score=[9.0, 8.0, 7.0, 6.0, 5.0])

    rerank(tmp_path, table, [[0.1, 0.2], [0.5, 0.7, 0.6]])

    assert read(tmp_path).to_pydict() == {
        "query_id": ["q0", "q0", "q1", "q1", "q1"],
        "doc_id": ["d0-1", "d0-0", "d1-1", "d1-2", "d1-0"],
        "rank": [1, 2, 1, 2, 3],
        "relevance_score": [0.2, 0.1, 0.7, 0.6, 0.5],
        "first_stage_rank": [2, 1, 2, 3, 1],
        "first_stage_score": [8.0, 9.0, 6.0, 5.0, 7.0],
    }


def test_candidates_without_a_score_come_last_and_stand_in_rejects(tmp_path):
    rerank(tmp_path, candidates([3]), [[None, 0.5, None]])

    part = read(tmp_path)
    assert part["doc_id"].to_pylist() == ["d0-1", "d0-0", "d0-2"]
    assert part["relevance_score"].to_pylist() == [0.5, None, None]
    assert read(tmp_path, "_rejects").to_pylist() == [
        {"query_id": "q0", "doc_id": f"d0-{row}", "first_stage_rank": row + 1,
         "reason": "bad_answer", "code": "nan", "message": "not a number"}
        for row in (0, 2)
    ]  # fmt: skip


def test_the_types_are_those_of_the_contract(tmp_path):
    ids = pa.array([2**64 - 1, 2**63], pa.uint64())
    rerank(tmp_path, candidates([2], doc_id=ids), [[1.0, None]])

    part, groups, rejects = (read(tmp_path, name) for name in ("", "_groups", "_rejects"))

    assert {field.name: str(field.type) for field in part.schema} == {
        "query_id": "string", "doc_id": "uint64", "rank": "int32",
        "relevance_score": "double", "first_stage_rank": "int32",
    }  # fmt: skip
    assert {field.name: str(field.type) for field in groups.schema} == {
        "query_id": "string", "num_candidates": "int32", "num_requests": "int32",
        "total_tokens": "int64", "merge_status": "string", "certified_depth": "int32",
        "num_rejected": "int32", "num_skipped": "int32", "num_truncated": "int32",
    }  # fmt: skip
    assert {field.name: str(field.type) for field in rejects.schema} == {
        "query_id": "string", "doc_id": "uint64", "first_stage_rank": "int32",
        "reason": "string", "code": "string", "message": "string",
    }  # fmt: skip
    assert part["doc_id"].to_pylist() == ids.to_pylist()


def test_a_groups_row_tells_what_was_done(tmp_path):
    source = Source(list_input(str(write(candidates([3]), tmp_path / "in.parquet"))))
    (group,) = read_groups(source)
    ranking = rank_by(
        group,
        [None, None, 1.5],
        merge_status="linked_affine",
        certified_depth=1,
        num_requests=2,
        total_tokens=2**40,
        num_truncated=1,
        rejects=(Reject(1, "no_text"), Reject(0, "unavailable", "503", "down")),
    )

    info = open_sink(source, tmp_path / "out").write_part(0, [ranking])

    assert read(tmp_path, "_groups").to_pylist() == [
        {"query_id": "q0", "num_candidates": 3, "num_requests": 2, "total_tokens": 2**40,
         "merge_status": "linked_affine", "certified_depth": 1, "num_rejected": 1,
         "num_skipped": 1, "num_truncated": 1}
    ]  # fmt: skip
    assert read(tmp_path, "_rejects")["reason"].to_pylist() == ["unavailable", "no_text"]
    assert (info.num_rejected, info.num_skipped) == (1, 1)


def test_top_n_cuts_the_part_but_neither_groups_nor_rejects(tmp_path):
    rerank(tmp_path, candidates([4, 1]), [[0.1, 0.4, None, 0.3], [0.5]], top_n=2)

    assert read(tmp_path)["doc_id"].to_pylist() == ["d0-1", "d0-3", "d1-0"]
    assert read(tmp_path, "_groups")["num_candidates"].to_pylist() == [4, 1]
    assert read(tmp_path, "_rejects")["doc_id"].to_pylist() == ["d0-2"]
    assert read_part_infos(locate(str(tmp_path / "out")), "f00d")[0].num_candidates == 5


def test_with_text_the_query_and_the_text_come_last(tmp_path):
    rerank(tmp_path, candidates([2], extra=[1, 2]), [[0.1, 0.2]], with_text=True)

    part = read(tmp_path)

    assert part.column_names[5:] == ["extra", "query", "text"]
    assert part["text"].to_pylist() == ["text 0 1", "text 0 0"]
    assert part["query"].to_pylist() == ["query 0"] * 2


def test_every_kind_of_column_passes_through(tmp_path):
    columns = {
        "ts": pa.array([datetime(2024, 1, 1, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
        "ns": pa.array([1_000, None], pa.timestamp("ns")),
        "decimal": pa.array([Decimal("1.25"), None], pa.decimal128(3, 2)),
        "struct": pa.array([{"a": 1, "b": ["x"]}, None]),
        "list": pa.array([["a", None], None]),
        "map": pa.array([[("k", "v")], None], pa.map_(pa.string(), pa.string())),
        "binary": pa.array([b"\xff\0", None]),
        "nothing": pa.nulls(2),
        "bool": pa.array([True, None]),
        "fixed": pa.array([[1, 2], None], pa.list_(pa.int8(), 2)),
        "uuid": pa.array([UUID(int=7).bytes, None], pa.uuid()),
        "duration": pa.array([5, None], pa.duration("ms")),
        "nan": pa.array([math.inf, math.nan]),
        "half": pa.array([1.5, None], pa.float16()),
        "large": pa.array(["a", None], pa.large_string()),
        "rank": pa.array(["a", "b"]),
    }

    rerank(tmp_path, candidates([2], **columns), [[0.1, 0.2]])

    part = read(tmp_path)
    for name, column in columns.items():
        out = part["input_rank" if name == "rank" else name].combine_chunks()
        assert out.type == column.type, name
        assert repr(out.take([1, 0]).to_pylist()) == repr(column.to_pylist()), name


def test_encodings_of_the_writer_become_plain_types(tmp_path):
    words = pa.array(["a", "b"]).dictionary_encode()
    columns = {
        "query_id": pa.array(["q", "q"]).dictionary_encode(),
        "doc_id": pa.array(["x", "y"], pa.string_view()),
        "words": words,
        "nested": pa.StructArray.from_arrays([words], ["w"]),
    }

    rerank(tmp_path, candidates([2], **columns), [[0.1, 0.2]])

    types = {field.name: str(field.type) for field in read(tmp_path).schema}
    assert types["query_id"] == types["doc_id"] == types["words"] == "string"
    assert types["nested"] == "struct<w: string>"


@settings(max_examples=40, deadline=None)
@given(data=st.data(), sizes=st.lists(st.integers(1, 8), max_size=8), top_n=st.none() | st.just(3))
def test_parts_have_the_same_bytes_however_the_input_was_cut(tmp_path_factory, data, sizes, top_n):
    scores = [data.draw(st.lists(SCORE, min_size=n, max_size=n)) for n in sizes]
    words = data.draw(st.lists(st.sampled_from(["x", "y", None]), min_size=sum(sizes),
                               max_size=sum(sizes)))  # fmt: skip
    table = candidates(sizes, word=pa.array(words, pa.string()).dictionary_encode())
    cuts = data.draw(st.lists(st.integers(0, 40), max_size=3))
    contents = []
    for max_rows, row_group_size, at in ((1000, 1000, []), (3, 5, cuts)):
        scratch = tmp_path_factory.mktemp("run")
        folder = write_cut(table, scratch / "in", at, row_group_size)
        if not sizes:
            write(table, folder / "empty.parquet")
        source = Source(list_input(str(folder)), limits=BatchLimits(max_rows=max_rows))
        groups = read_groups(source)
        rankings = [rank_by(group, s) for group, s in zip(groups, scores, strict=True)]
        open_sink(source, scratch / "out", top_n=top_n).write_part(0, rankings)
        files = sorted((scratch / "out").rglob("*.parquet"))
        contents.append([(file.relative_to(scratch), file.read_bytes()) for file in files])

    assert contents[0] == contents[1]
    part = pq.read_table(scratch / "out" / "part-00000.parquet").to_pylist()
    expected = sum(min(size, top_n or size) for size in sizes)
    assert len({(row["query_id"], row["doc_id"]) for row in part}) == len(part) == expected
    for before, after in pairwise(part):
        if before["query_id"] == after["query_id"]:
            assert after["rank"] == before["rank"] + 1
            assert after["relevance_score"] is None or (
                before["relevance_score"] >= after["relevance_score"]
            )


def test_equal_scores_keep_the_first_stages_order(tmp_path):
    rerank(tmp_path, candidates([4], first_stage_rank=[4, 3, 2, 1]), [[0.5] * 4])

    assert read(tmp_path)["first_stage_rank"].to_pylist() == [1, 2, 3, 4]


def test_a_ranking_that_loses_a_candidate_is_a_bug_that_shows(tmp_path):
    source = Source(list_input(str(write(candidates([2]), tmp_path / "in.parquet"))))
    (group,) = read_groups(source)
    ranking = rank_by(group, [0.1, 0.2])
    broken = Ranking(group.output, ranking.row_scores[:1], "single_request")

    with pytest.raises(AssertionError, match="every candidate is ranked once"):
        open_sink(source, tmp_path / "out").write_part(0, [broken])


def test_a_ranking_that_repeats_a_candidate_is_a_bug_that_shows(tmp_path):
    source = Source(list_input(str(write(candidates([2]), tmp_path / "in.parquet"))))
    (group,) = read_groups(source)
    ranking = rank_by(group, [0.1, 0.2])
    ranking.keep_order(np.array([1, 1]))

    with pytest.raises(AssertionError, match="every candidate is ranked once"):
        open_sink(source, tmp_path / "out").write_part(0, [ranking])


def test_the_footer_tells_what_resuming_needs(tmp_path):
    table = candidates([2, 3], doc_id=["a", "a", "b", "c", "c"])
    path = write(table, tmp_path / "in.parquet")
    source = Source(list_input(str(path)), duplicates="first")
    rankings = [
        rank_by(group, [None, 0.5][: group.num_candidates], num_requests=2, total_tokens=7)
        for group in read_groups(source)
    ]
    sink = open_sink(source, tmp_path / "out")

    written = sink.write_part(3, rankings)

    assert sink.read_part_infos() == {3: written}
    footer = pq.read_metadata(tmp_path / "out" / "part-00003.parquet").metadata
    assert json.loads(footer[b"rerank"]) == {
        "format": 1, "fingerprint": "f00d", "part": 3, "first_group": 0, "num_groups": 2,
        "first_row": 0, "num_rows": 5, "num_candidates": 3, "num_rejected": 2, "num_skipped": 0,
        "requests": 4, "total_tokens": 14, "merge_status": {"single_request": 2},
        "groups_bytes": (tmp_path / "out/_groups/part-00003.parquet").stat().st_size,
        "rejects_bytes": (tmp_path / "out/_rejects/part-00003.parquet").stat().st_size,
    }  # fmt: skip
    assert (written.stop_group, written.stop_row) == (2, 5)


def test_the_footer_tells_where_a_part_begins_however_many_pieces_it_has(tmp_path):
    source = Source(list_input(str(write(candidates([2, 1, 3, 2]), tmp_path / "in.parquet"))))
    rankings = [rank_by(group, [0.5] * group.num_candidates) for group in read_groups(source)[1:]]

    for max_rows in (1, 100):
        limits = PieceLimits(max_rows=max_rows)
        info = open_sink(source, tmp_path / "out", piece_limits=limits).write_part(1, rankings)
        assert (info.first_group, info.num_groups) == (1, 3)
        assert (info.first_row, info.num_rows) == (2, 6)


def test_groups_of_two_batches_and_groups_that_are_no_neighbours_stand_side_by_side(tmp_path):
    def groups(prefix: str) -> list[Group]:
        ids = [f"{prefix}{number}" for number in range(8)]
        path = write(candidates([2, 2, 2, 2], doc_id=ids), tmp_path / prefix / "in.parquet")
        return read_groups(Source(list_input(str(path))))

    one, other = groups("a"), groups("b")
    assert one[0].output.table is one[2].output.table
    source = Source(list_input(str(tmp_path / "a" / "in.parquet")))
    rankings = [
        rank_by(group, [0.1, 0.2]) for group in (one[0], other[1], other[2], one[0], one[2])
    ]

    open_sink(source, tmp_path / "out").write_part(0, rankings)

    assert read(tmp_path)["doc_id"].to_pylist() == [
        "a1", "a0", "b3", "b2", "b5", "b4", "a1", "a0", "a5", "a4",
    ]  # fmt: skip


def test_an_entry_of_another_format_is_not_read():
    entry = PartInfo(
        index=0, fingerprint="x", first_group=0, num_groups=1, first_row=0, num_rows=1
    ).to_json()

    assert PartInfo.from_json(entry).fingerprint == "x"
    with pytest.raises(msgspec.ValidationError, match="format"):
        PartInfo.from_json(entry.replace(b'"format":1', b'"format":2'))


def test_a_footer_of_an_earlier_version_is_read_and_written_the_same():
    entry = (Path(__file__).parent / "examples" / "part_footer.json").read_bytes()

    info = PartInfo.from_json(entry)

    assert (info.index, info.num_groups, info.merge_status) == (0, 51, {"single_request": 51})
    assert info.to_json() == entry


def test_a_large_part_comes_in_pieces_and_is_the_same_table(tmp_path):
    path = write(candidates([3, 1, 4, 2, 5]), tmp_path / "in.parquet")
    source = Source(list_input(str(path)), with_text=True)
    rankings = [
        rank_by(group, [0.1 * row if row % 3 else None for row in range(group.num_candidates)])
        for group in read_groups(source)
    ]
    written = []
    for name, limits in (("one", PieceLimits(1_000)), ("many", PieceLimits(4))):
        open_sink(source, tmp_path / name, piece_limits=limits).write_part(0, rankings)
        written.append(tmp_path / name)

    for folder in ("", "_groups", "_rejects"):
        files = [output / folder / "part-00000.parquet" for output in written]
        one, many = (pq.ParquetFile(file, pre_buffer=False) for file in files)
        with one, many:
            assert (one.num_row_groups, many.num_row_groups) == ((1, 1) if folder else (1, 3))
            assert one.read().equals(many.read(), check_metadata=True)
        if folder:
            assert files[0].read_bytes() == files[1].read_bytes()


def test_long_texts_make_small_row_groups(tmp_path):
    """So that few texts are in memory; see `tests/dataset/test_memory_of_parts.py`."""
    path = write(candidates([2] * 6, text=["x" * 1_000] * 12), tmp_path / "in.parquet")
    source = Source(list_input(str(path)), with_text=True)
    rankings = [rank_by(group, [0.1, 0.2]) for group in read_groups(source)]

    open_sink(source, tmp_path / "out", piece_limits=PieceLimits(max_bytes=5_000)).write_part(
        0, rankings
    )

    with pq.ParquetFile(tmp_path / "out" / "part-00000.parquet") as part:
        rows = [part.metadata.row_group(index).num_rows for index in range(part.num_row_groups)]
    assert rows == [6, 6]
