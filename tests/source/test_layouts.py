"""Layouts differ in what a row holds, in nothing else: shown with a second one, defined here."""

import tempfile
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from support.tables import rank_by, read_groups, write, write_cut

from pipeline.core.errors import InputError, SettingsError
from pipeline.core.groups import Group
from pipeline.output.part_borders import PartBorders
from pipeline.output.sink import Sink
from pipeline.source.batch_reader import BatchLimits
from pipeline.source.layouts.layout import HeldCandidates
from pipeline.source.listing import list_input
from pipeline.source.source import Source
from pipeline.storage.location import locate


class HitsLayout:
    """Several candidates per row, in a list of structs called `hits`."""

    description: ClassVar[str] = "rows of query_id, query, hits"
    other_names: ClassVar[tuple[str, ...]] = ()
    rows_are_candidates: ClassVar[bool] = False

    found = "rows of hits"

    def __init__(self, columns: Mapping[str, str], _: Sequence[pa.Schema], media: bool) -> None:
        self._columns = columns

    def column_of(self, role: str) -> str:
        return self._columns.get(role, role)

    def flat_schema(self, schema: pa.Schema) -> pa.Schema:
        of_rows = [field for field in schema if field.name != "hits"]
        return pa.schema([*of_rows, *schema.field("hits").type.value_type])

    def id_columns(self) -> list[str]:
        return [self.column_of("query_id")]

    def row_columns(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch

    def candidates(self, batch: pa.RecordBatch) -> HeldCandidates:
        hits = batch.column("hits")
        sizes = np.asarray(pc.list_value_length(hits).fill_null(0), np.int64)
        columns = pa.RecordBatch.from_struct_array(hits.flatten())
        return HeldCandidates(columns, np.append(0, np.cumsum(sizes)))


class Case(Struct):
    """Queries as the candidates of each of their rows, and ways to cut and to read them."""

    layout: str
    queries: list[list[list[dict[str, str | None]]]]
    duplicates: str
    with_text: bool
    cuts: list[int]
    row_group_size: int
    limits: BatchLimits

    def table(self) -> pa.Table:
        """Return the rows of all queries."""
        rows = [
            {
                "query_id": f"q{number}",
                "query": f"query {number}",
                "hits": row,
                "lang": f"l{number}",
            }
            for number, query in enumerate(self.queries)
            for row in query
        ]
        hit = pa.struct({name: pa.string() for name in ("doc_id", "text", "title")})
        types = {"query_id": pa.string(), "query": pa.string(), "hits": pa.list_(hit)}
        table = pa.Table.from_pylist(rows, pa.schema(types | {"lang": pa.string()}))
        if self.layout == "hits":
            return table
        columns = {name: [row[name] for row in rows] for name in ("query_id", "query", "lang")}
        held = [row["hits"][0] for row in rows]
        for name in ("doc_id", "text", "title"):
            columns[name] = [hit[name] for hit in held]
        return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})

    def row_offsets(self) -> list[int]:
        """Return the row where each query begins, and the number of rows."""
        return list(accumulate(map(len, self.queries), initial=0))

    def open(self, folder: Path) -> Source:
        """Write the rows into files below a folder, and open them."""
        write_cut(self.table(), folder, self.cuts, self.row_group_size)
        if not any(self.queries):
            write(self.table(), folder / "empty.parquet")
        return Source(
            list_input(str(folder)),
            layout={"long": "long", "hits": HitsLayout}[self.layout],
            duplicates=self.duplicates,
            with_text=self.with_text,
            limits=self.limits,
        )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    layout = draw(st.sampled_from(["long", "hits"]))
    doc_ids, texts = st.sampled_from("abcdef"), st.sampled_from(["one", "two", "", None])
    hits = st.fixed_dictionaries({"doc_id": doc_ids, "text": texts, "title": texts})
    rows = (
        st.lists(hits, max_size=4) if layout == "hits" else st.lists(hits, min_size=1, max_size=1)
    )
    return Case(
        layout=layout,
        queries=draw(st.lists(st.lists(rows, min_size=1, max_size=5), max_size=9)),
        duplicates=draw(st.sampled_from(["keep", "first"])),
        with_text=draw(st.booleans()),
        cuts=draw(st.lists(st.integers(0, 30), max_size=4)),
        row_group_size=draw(st.integers(1, 12)),
        limits=BatchLimits(
            max_rows=draw(st.integers(1, 12)),
            max_id_rows=draw(st.integers(1, 12)),
            max_run_rows=draw(st.integers(1, 30)),
        ),
    )


def expected_groups(case: Case) -> list[tuple[object, ...]]:
    """Work out the groups, query by query."""
    groups = []
    for number, rows in enumerate(case.queries):
        found = list(enumerate((hit for row in rows for hit in row), start=1))
        if case.duplicates == "first":
            found = list({hit["doc_id"]: (rank, hit) for rank, hit in reversed(found)}.values())
            found.sort(key=lambda ranked: ranked[0])
        outputs = [
            {"doc_id": hit["doc_id"], "lang": f"l{number}", "title": hit["title"]}
            | ({"query": f"query {number}", "text": hit["text"]} if case.with_text else {})
            for _, hit in found
        ]
        strings = [row[name] or "" for row in outputs for name in row if name != "doc_id"]
        texts, ranks = [hit["text"] for _, hit in found], [rank for rank, _ in found]
        outputs = [row | {"query_id": f"q{number}"} for row in outputs]
        groups.append((number, f"query {number}", texts, ranks, outputs, len("".join(strings))))
    return groups


def contents(groups: Sequence[Group]) -> list[tuple[object, ...]]:
    """Return the groups as plain values, without their positions."""
    return [
        (
            group.output.index,
            group.query,
            group.texts.to_pylist(),
            group.first_stage_rank.tolist(),
            group.output.candidates.to_pylist(),
            group.output.passthrough_bytes,
        )
        for group in groups
    ]


def positions(groups: Sequence[Group]) -> list[tuple[int, int]]:
    """Return the input rows of each group, as ranges."""
    return [(g.output.first_row, g.output.first_row + g.output.num_rows) for g in groups]


@settings(max_examples=150, deadline=None)
@given(cases())
def test_groups_are_the_same_in_any_layout_and_however_their_rows_are_cut(case):
    with tempfile.TemporaryDirectory() as scratch:
        source = case.open(Path(scratch))

        groups = read_groups(source)

        assert contents(groups) == expected_groups(case)
        assert positions(groups) == list(pairwise(case.row_offsets()))
        assert source.count_groups() == len(case.queries)


@settings(max_examples=150, deadline=None)
@given(cases(), st.data())
def test_whatever_is_finished_the_rest_is_the_same_in_any_layout(case, data):
    done = [data.draw(st.booleans()) for _ in case.queries]
    ranges = list(pairwise(case.row_offsets()))
    with tempfile.TemporaryDirectory() as scratch:
        source = case.open(Path(scratch))

        finished = [rows for rows, is_done in zip(ranges, done, strict=True) if is_done]
        groups = read_groups(source, finished=finished)

    rest = [
        group for group, is_done in zip(expected_groups(case), done, strict=True) if not is_done
    ]
    assert contents(groups) == rest
    assert positions(groups) == [rows for rows in ranges if rows not in finished]


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(1, 4), st.data())
def test_written_parts_tell_which_rows_are_finished_in_any_layout(case, groups_per_part, data):
    case.queries = [query for query in case.queries if any(query)]
    with tempfile.TemporaryDirectory() as scratch:
        source = case.open(Path(scratch) / "in")
        sink = Sink(locate(f"{scratch}/out"), source.output_schema, fingerprint="f00d")
        borders, parts = PartBorders(groups_per_part), dict[int, list[Group]]()
        for group in read_groups(source):
            parts.setdefault(borders.place(group.output)[0], []).append(group)
        written = [index for index in parts if data.draw(st.booleans())]
        for index in written:
            sink.write_part(index, [rank_by(g, [0.5] * g.num_candidates) for g in parts[index]])

        infos = sink.read_part_infos().values()
        rest = read_groups(source, finished=[(part.first_row, part.stop_row) for part in infos])

        expected = [group for index in parts if index not in written for group in parts[index]]
        assert contents(rest) == contents(expected)
        borders = PartBorders(groups_per_part, infos)
        assert [borders.place(group.output)[0] for group in rest] == [
            index for index in parts if index not in written for _ in parts[index]
        ]


def open_hits(
    folder: Path, rows: list[dict[str, Any]], hit: dict[str, pa.DataType], **how: Any
) -> Source:
    kinds = {"query_id": pa.string(), "query": pa.string(), "hits": pa.list_(pa.struct(hit))}
    table = pa.Table.from_pylist(rows, pa.schema(kinds))
    return Source(list_input(str(write(table, folder / "in.parquet"))), layout=HitsLayout, **how)


@pytest.mark.parametrize("held", [["bad"], ["bad", "good"], ["good", "bad"]])
@pytest.mark.parametrize("max_rows", [1, 2, 9])
def test_a_message_names_the_row_that_holds_the_candidate(tmp_path, held, max_rows):
    hits = {
        "good": {"doc_id": "a", "text": b"good"},
        "bad": {"doc_id": "b", "text": b"\xff"},
    }
    rows = [
        {"query_id": "q0", "query": "x", "hits": [hits["good"]] * 3},
        {"query_id": "q1", "query": "x", "hits": []},
        {"query_id": "q2", "query": "x", "hits": [hits[name] for name in held]},
    ]
    kinds = {"doc_id": pa.string(), "text": pa.binary()}
    source = open_hits(tmp_path, rows, kinds, limits=BatchLimits(max_rows=max_rows))

    with pytest.raises(InputError, match=r"'text' is not UTF-8 \(found row 2, query_id 'q2'\)"):
        read_groups(source)


def test_of_finished_rows_no_candidate_is_decoded(tmp_path):
    rows = [
        {"query_id": f"q{number}", "query": "x", "hits": [{"doc_id": "a", "text": text}]}
        for number, text in enumerate([b"\xff", b"good"])
    ]
    source = open_hits(tmp_path, rows, {"doc_id": pa.string(), "text": pa.binary()})

    assert source.count_groups() == 2
    assert [group.query_id for group in read_groups(source, finished=[(0, 1)])] == ["q1"]


def test_footers_tell_the_candidates_only_where_every_row_is_one(tmp_path):
    row = {"query_id": "q", "query": "x", "hits": [{"doc_id": "a", "text": "b"}] * 3}
    hits = open_hits(tmp_path / "hits", [row], {"doc_id": pa.string(), "text": pa.string()})
    table = pa.table({name: ["a", "a"] for name in ("query_id", "query", "doc_id", "text")})
    long = Source(list_input(str(write(table, tmp_path / "long.parquet"))))

    assert hits.num_candidates is None
    assert long.num_candidates == 2


def test_an_unknown_layout_is_refused_with_those_there_are(tmp_path):
    table = pa.table({name: ["a"] for name in ("query_id", "query", "doc_id", "text")})
    listing = list_input(str(write(table, tmp_path / "in.parquet")))

    with pytest.raises(SettingsError, match=r"--layout: .*'?wide'?.*auto.*long"):
        Source(listing, layout="wide")
