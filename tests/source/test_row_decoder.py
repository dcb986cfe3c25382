"""Values of the input arrive as they are, and nothing unfit passes."""

from datetime import datetime
from uuid import UUID

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.tables import candidates, open_source, read_groups, write

from pipeline.core.errors import InputError
from pipeline.source.batch_reader import BatchLimits


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
    assert [group.output.candidates["doc_id"][0].as_py() for group in groups] == [top, top - 1, 0]
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
    assert {group.output.candidates.schema for group in groups} == {source.candidate_schema}


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


@pytest.mark.parametrize("column", ["query_id", "doc_id"])
def test_a_null_id_is_refused_with_its_row(tmp_path, column):
    table = candidates([2, 2], **{column: pa.array(["a", "b", None, "c"])})
    source = open_source(write(table, tmp_path / "in.parquet", write_statistics=False))

    with pytest.raises(InputError, match=rf"in\.parquet: null {column} \(found row 2, query_id"):
        read_groups(source)


@pytest.mark.parametrize(
    ("column", "read"),
    [
        ("query_id", read_groups),
        ("doc_id", read_groups),
        ("query_id", lambda source: source.check_ids()),
        ("doc_id", lambda source: source.check_ids()),
        ("query_id", lambda source: read_groups(source, finished=[(0, 11)])),
        ("query_id", lambda source: read_groups(source, start_row=11)),
    ],
    ids=["query_id", "doc_id", "query_id, checked", "doc_id, checked", "finished", "before"],
)
def test_the_row_of_a_null_is_that_in_its_file_however_it_is_read(tmp_path, column, read):
    ids = pa.array([*map(str, range(8)), None, *map(str, range(9, 12))])
    for name, part in (("a", slice(0, 5)), ("b", slice(5, 12))):
        table = candidates([1] * 12, **{column: ids})[part]
        write(table, tmp_path / f"{name}.parquet", write_statistics=False, row_group_size=2)
    source = open_source(tmp_path, limits=BatchLimits(max_run_rows=2))

    with pytest.raises(InputError, match=rf"b\.parquet: null {column} \(found row 3\b"):
        read(source)


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.int64()])
def test_ranks_of_the_input_are_kept(tmp_path, kind):
    table = candidates([3], first_stage_rank=pa.array([7, 0, 7], kind))
    (group,) = read_groups(open_source(write(table, tmp_path / "in.parquet")))

    assert group.first_stage_rank.tolist() == [7, 0, 7]
    assert group.first_stage_rank.dtype == np.int32


@pytest.mark.parametrize(
    ("ranks", "message"),
    [([1, None], r"null in column .*row 1"), ([1, 2**40], r"not a rank \(found row 1, .*32-bit")],
)
def test_ranks_that_are_none_are_refused(tmp_path, ranks, message):
    table = candidates([2], first_stage_rank=pa.array(ranks, pa.int64()))
    source = open_source(write(table, tmp_path / "in.parquet", write_statistics=False))

    with pytest.raises(InputError, match=message):
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


DICTIONARY = pa.dictionary(pa.int32(), pa.string())


@pytest.mark.parametrize(
    ("kind", "becomes", "value"),
    [
        (pa.list_(DICTIONARY), pa.list_(pa.string()), lambda word: [word, None, word]),
        (pa.large_list(DICTIONARY), pa.large_list(pa.string()), lambda word: [word]),
        (pa.struct([("a", DICTIONARY)]), pa.struct([("a", pa.string())]), lambda word: {"a": word}),
        (pa.map_(pa.string(), DICTIONARY), pa.map_(pa.string(), pa.string()), lambda w: [(w, w)]),
        (
            pa.list_(pa.struct([("a", pa.list_(DICTIONARY)), ("b", pa.int8())])),
            pa.list_(pa.struct([("a", pa.list_(pa.string())), ("b", pa.int8())])),
            lambda word: [{"a": [word], "b": 1}, None],
        ),
    ],
)
def test_a_dictionary_in_a_nested_column_is_read_across_row_groups(tmp_path, kind, becomes, value):
    values = [value(f"word {row % 30}") if row % 7 else None for row in range(100)]
    table = candidates([4] * 25, nested=pa.array(values, becomes).cast(kind))
    path = write(table, tmp_path / "in.parquet", row_group_size=7)
    assert pq.read_schema(path).field("nested").type == kind
    source = open_source(path)

    groups = read_groups(source)

    assert source.output_schema.field("nested").type == becomes
    columns = [group.output.candidates["nested"] for group in groups]
    assert [found for column in columns for found in column.to_pylist()] == values
    assert source.count_groups() == 25


@pytest.mark.parametrize(
    ("kind", "becomes"),
    [
        (pa.list_view(pa.string()), pa.list_(pa.string())),
        (pa.large_list_view(pa.string()), pa.large_list(pa.string())),
        (pa.list_(pa.list_view(pa.string()), 1), pa.list_(pa.list_(pa.string()), 1)),
        (pa.struct([("a", pa.list_view(pa.string()))]), pa.struct([("a", pa.list_(pa.string()))])),
    ],
)
def test_views_of_lists_become_lists(tmp_path, kind, becomes):
    def wrapped(value):
        if pa.types.is_struct(kind):
            return {"a": value}
        return [value] if pa.types.is_fixed_size_list(kind) else value

    values = [wrapped(value) for value in ([], None, ["a"], ["b", None, "c"]) * 5]
    table = candidates([4] * 5, view=pa.array(values, kind))
    source = open_source(write(table, tmp_path / "in.parquet", row_group_size=6))

    groups = read_groups(source)

    columns = [group.output.candidates["view"] for group in groups]
    assert source.output_schema.field("view").type == becomes
    assert [found for column in columns for found in column.to_pylist()] == values


def test_a_file_with_what_arrow_cannot_read_is_not_called_damaged(tmp_path):
    table = pl.DataFrame(
        {"query_id": ["q"], "number": [2**100]}, schema_overrides={"number": pl.Int128}
    )
    table.write_parquet(tmp_path / "in.parquet")

    with pytest.raises(InputError, match=r"in\.parquet: holds something that Arrow cannot read"):
        open_source(tmp_path / "in.parquet")


def test_times_of_96_bits_are_read_to_the_microsecond_in_any_year(tmp_path):
    times = [
        datetime(1, 1, 1),
        datetime(1900, 1, 1, 1, 2, 3, 456_789),
        datetime(9999, 12, 31),
        None,
    ]
    table = candidates([4], at=pa.array(times, pa.timestamp("us")))
    path = write(table, tmp_path / "in.parquet", use_deprecated_int96_timestamps=True)

    (group,) = read_groups(open_source(path))

    assert group.output.candidates["at"].type == pa.timestamp("us")
    assert group.output.candidates["at"].to_pylist() == times


UUIDS = [UUID(int=number * 0x0123456789ABCDEF01234567) for number in (1, 255, 2**30)]


def uuids(values: list[UUID | None]) -> pa.Array:
    return pa.array([value and value.bytes for value in values], pa.uuid())


@pytest.mark.parametrize("max_rows", [1, 2, 9])
def test_a_column_of_uuids_is_read_as_their_text(tmp_path, max_rows):
    doc_ids = [*UUIDS, UUIDS[0]]
    table = candidates([2, 2], query_id=uuids([UUIDS[0]] * 2 + [UUIDS[1]] * 2))
    table = table.set_column(2, "doc_id", uuids(doc_ids)).append_column(
        "uuid", uuids([None, *UUIDS])
    )
    path = write(table, tmp_path / "in.parquet", row_group_size=3)

    groups = read_groups(open_source(path, limits=BatchLimits(max_rows=max_rows)))

    assert [group.query_id for group in groups] == [str(UUIDS[0]), str(UUIDS[1])]
    rows = [row for group in groups for row in group.output.candidates.to_pylist()]
    assert [row["doc_id"] for row in rows] == [str(value) for value in doc_ids]
    assert [row["uuid"] for row in rows] == [None, *UUIDS]
    assert groups[0].output.candidates.schema.field("uuid").type == pa.uuid()


def test_a_null_among_uuids_is_refused_with_the_query_beside_it(tmp_path):
    table = candidates([2], query_id=uuids([UUIDS[1]] * 2))
    table = table.set_column(2, "doc_id", uuids([UUIDS[0], None]))
    path = write(table, tmp_path / "in.parquet", write_statistics=False)

    with pytest.raises(InputError, match=rf"null doc_id \(found row 1, query_id '{UUIDS[1]}'\)"):
        read_groups(open_source(path))


def test_json_columns_pass_through_and_may_hold_the_text(tmp_path):
    values = pa.array(['{"a": 1}', None, "[]"])
    json_values = pa.ExtensionArray.from_storage(pa.json_(), values)
    table = candidates([3], meta=json_values, text=json_values)

    (group,) = read_groups(open_source(write(table, tmp_path / "in.parquet")))

    assert group.texts.to_pylist() == values.to_pylist()
    assert group.output.candidates.schema.field("meta").type == pa.json_()
    assert group.output.candidates["meta"].to_pylist() == values.to_pylist()
