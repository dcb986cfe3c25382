"""Which column plays which part, and what the output's columns are."""

from datetime import datetime

import pyarrow as pa
import pytest
from support.tables import candidates, read_groups, write

from pipeline.core.errors import InputError, SettingsError
from pipeline.source.listing import list_input
from pipeline.source.source import Source

IDS = ["query_id", "doc_id"]
RANKED = ["rank", "relevance_score", "first_stage_rank"]


def open_table(tmp_path, table, **how) -> Source:
    return Source(list_input(str(write(table, tmp_path / "in.parquet"))), **how)


def refusal_of(tmp_path, *tables, **how) -> str:
    for number, table in enumerate(tables):
        write(table, tmp_path / f"{number}.parquet")
    with pytest.raises(InputError) as refusal:
        Source(list_input(str(tmp_path)), **how)
    message = str(refusal.value)
    assert refusal.value.exit_code == 3
    assert "\n" not in message
    return message.replace(f"{tmp_path}/", "")


def test_the_output_has_the_columns_of_the_contract_in_order(tmp_path):
    table = candidates([1], z=[1], first_stage_score=[0.5], a=["x"], first_stage_rank=[3])

    plain = open_table(tmp_path, table)
    full = open_table(tmp_path, table, with_text=True)

    assert plain.output_schema.names == [*IDS, *RANKED, "z", "first_stage_score", "a"]
    assert full.output_schema.names == [*plain.output_schema.names, "query", "text"]
    assert full.candidate_schema.names == [*IDS, "z", "first_stage_score", "a", "query", "text"]
    types = [full.output_schema.field(name).type for name in RANKED]
    assert types == [pa.int32(), pa.float64(), pa.int32()]


def test_columns_may_bear_other_names(tmp_path):
    table = candidates([2], passage=["one", "two"], place=[5, 4], bm25=[0.5, 0.25]).drop_columns(
        ["text"]
    )
    source = open_table(
        tmp_path,
        table,
        columns={"text": "passage", "first_stage_rank": "place", "first_stage_score": "bm25"},
        with_text=True,
    )

    (group,) = read_groups(source)

    assert source.output_schema.names == [*IDS, *RANKED, "first_stage_score", "query", "text"]
    assert group.texts.to_pylist() == ["one", "two"]
    assert group.first_stage_rank.tolist() == [5, 4]
    assert group.output.candidates["text"].to_pylist() == ["one", "two"]
    assert group.output.candidates["first_stage_score"].to_pylist() == [0.5, 0.25]


def test_a_column_that_bears_an_output_columns_name_is_renamed(tmp_path):
    table = candidates(
        [1],
        rank=[1],
        input_rank=[2],
        relevance_score=["a"],
        passage=["b"],
        bm25=[1.5],
        first_stage_score=[2.5],
    )
    columns = {"text": "passage", "first_stage_score": "bm25"}

    source = open_table(tmp_path, table, columns=columns, with_text=True)

    (group,) = read_groups(source)
    assert group.output.candidates.drop_columns(["query_id", "doc_id", "query"]).to_pylist() == [
        {
            "input_text": "text 0 0",
            "input_input_rank": 1,
            "input_rank": 2,
            "input_relevance_score": "a",
            "first_stage_score": 1.5,
            "input_first_stage_score": 2.5,
            "text": "b",
        }
    ]


def test_without_text_an_unused_column_of_that_name_passes(tmp_path):
    source = open_table(
        tmp_path, candidates([1], passage=["b"]), columns={"text": "passage"}, with_text=False
    )

    assert source.output_schema.names == [*IDS, *RANKED, "text"]


def test_missing_columns_are_reported_with_what_was_found_and_the_cure(tmp_path):
    table = candidates().drop_columns(["text", "query"])

    assert refusal_of(tmp_path, table) == (
        "0.parquet: missing columns ['query', 'text'] (found ['query_id', 'doc_id'], "
        "expected a row per candidate: query_id, query, doc_id, text); "
        "ids without their texts are joined with --queries FILE --corpus FILE"
    )


def test_a_missing_column_is_reported_with_the_cure_however_many_others_there_are(tmp_path):
    table = candidates(**{f"feature_{number}": pa.nulls(5) for number in range(500)})

    message = refusal_of(tmp_path, table.drop_columns(["text"]))

    assert message.endswith("are joined with --corpus FILE")


def test_a_renamed_column_that_is_not_there_is_missing(tmp_path):
    message = refusal_of(tmp_path, candidates(), columns={"first_stage_rank": "place"})

    assert message.startswith("0.parquet: missing columns ['place']")


def test_an_unknown_role_is_a_usage_error(tmp_path):
    with pytest.raises(SettingsError, match=r"--column.*docid"):
        open_table(tmp_path, candidates(), columns={"docid": "doc_id"})


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"query_id": pa.array([1.0, 2.0])}, r"'query_id' has a wrong type \(found double.*int64"),
        ({"doc_id": pa.array([True, False])}, r"'doc_id' has a wrong type \(found bool"),
        ({"text": pa.array([1, 2])}, r"'text' has a wrong type \(found int64"),
        ({"query": pa.array([["a"], ["b"]])}, r"'query' has a wrong type \(found list"),
        ({"first_stage_rank": pa.array([1.0, 2.0])}, r"'first_stage_rank' .*integer type"),
    ],
)
def test_wrong_types_are_reported_with_what_is_right(tmp_path, columns, expected):
    with pytest.raises(InputError, match=expected):
        open_table(tmp_path, candidates([2], **columns))


def test_two_columns_of_one_name_are_refused(tmp_path):
    table = candidates([1], x=[1], y=[2]).rename_columns([*candidates().column_names, "x", "x"])

    assert "more than one column is called 'x'" in refusal_of(tmp_path, table)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"query_id": ["a"]}, {"query_id": [1]}),
        ({"doc_id": pa.array([1], pa.int64())}, {"doc_id": pa.array([2], pa.uint64())}),
        ({"extra": ["a"]}, {"extra": [1]}),
        ({"extra": [["a"]]}, {"extra": [[1]]}),
    ],
)
def test_files_whose_types_differ_are_both_named(tmp_path, one, other):
    message = refusal_of(tmp_path, candidates([1], **one), candidates([1], **other))

    assert message.startswith("1.parquet: column ")
    assert "another type than in 0.parquet" in message


def test_ranks_in_some_files_only_are_refused(tmp_path):
    ranked = candidates([1], first_stage_rank=[1])

    unranked = candidates([1])

    assert refusal_of(tmp_path, ranked, unranked) == (
        "1.parquet: column 'first_stage_rank' is in some files only "
        "(found it in 0.parquet, not here); write it into every file or into none"
    )
    assert "(found it here, not in 0.parquet)" in refusal_of(tmp_path, unranked, ranked)


@pytest.mark.parametrize(
    ("one", "other", "joint"),
    [
        (pa.array(["a"]), pa.array(["b"], pa.large_string()), pa.large_string()),
        (pa.array([1.5], pa.float32()), pa.array([2.5]), pa.float64()),
        (pa.array([[None]]), pa.array([["a"]]), pa.list_(pa.string())),
        (pa.nulls(1), pa.array([{"a": 1}]), pa.struct([("a", pa.int64())])),
        (
            pa.array([{"a": 1}], pa.struct([("a", pa.int8())])),
            pa.array([{"b": ["x"], "a": 2.5}]),
            pa.struct([("a", pa.float64()), ("b", pa.list_(pa.string()))]),
        ),
    ],
)
def test_a_column_gets_the_type_that_holds_the_values_of_all_files(tmp_path, one, other, joint):
    for number, column in enumerate((one, other)):
        table = candidates([1], query_id=pa.array([f"{number}"]), extra=column)
        write(table, tmp_path / f"{number}.parquet")

    source = Source(list_input(str(tmp_path)))

    assert source.output_schema.field("extra").type == joint
    assert source.widened == ({} if pa.types.is_null(one.type) else {"extra": joint})
    extras = [group.output.candidates["extra"] for group in read_groups(source)]
    assert [extra.type for extra in extras] == [joint, joint]
    assert [extra.to_pylist() for extra in extras] == [
        column.cast(joint).to_pylist() for column in (one, other)
    ]


def test_integer_ids_of_different_widths_are_the_same_ids(tmp_path):
    narrow, wide = pa.array([7, 7], pa.int32()), pa.array([7, 8], pa.int64())
    write(candidates([2], query_id=narrow, query=["q", "q"]), tmp_path / "0.parquet")
    write(candidates([1, 1], query_id=wide, query=["q", "r"]), tmp_path / "1.parquet")
    source = Source(list_input(str(tmp_path)))

    assert source.output_schema.field("query_id").type == pa.int64()
    assert [(group.query_id, group.num_candidates) for group in read_groups(source)] == [
        (7, 3), (8, 1)
    ]  # fmt: skip
    assert source.count_groups() == 2


def test_only_columns_of_the_output_count_as_widened(tmp_path):
    write(candidates([1], query_id=["a"]), tmp_path / "0.parquet")
    large = pa.array(["text"], pa.large_string())
    write(candidates([1], query_id=["b"], text=large), tmp_path / "1.parquet")
    listing = list_input(str(tmp_path))

    assert Source(listing).widened == {}
    assert Source(listing, with_text=True).widened == {"text": pa.large_string()}


def test_a_time_that_nanoseconds_do_not_reach_is_refused_with_its_row(tmp_path):
    for number, unit in enumerate(("us", "ns")):
        times = pa.array([datetime(2020, 1, 1)] * 2, pa.timestamp(unit))
        write(candidates([2], query_id=[f"{number}"] * 2, at=times), tmp_path / f"{number}.parquet")
    far = pa.array([datetime(2020, 1, 1), datetime(3020, 1, 1)], pa.timestamp("us"))
    write(candidates([2], query_id=["2", "2"], at=far), tmp_path / "2.parquet")
    source = Source(list_input(str(tmp_path)))

    with pytest.raises(InputError) as refusal:
        read_groups(source)

    assert (
        "2.parquet: column 'at' holds a value that does not fit the type of other files "
        "(found row 1, query_id '2', expected timestamp[ns]); write all files with one type"
    ) in str(refusal.value)


def test_a_column_that_only_some_files_have_is_null_in_the_others(tmp_path):
    ids = [pa.array([f"{number}"]) for number in range(3)]
    write(candidates([1], query_id=ids[0]), tmp_path / "0.parquet")
    write(candidates([1], query_id=ids[1], new=[{"a": 1}]), tmp_path / "1.parquet")
    write(candidates([1], query_id=ids[2]), tmp_path / "2.parquet")

    groups = read_groups(Source(list_input(str(tmp_path))))

    assert [group.output.candidates["new"][0].as_py() for group in groups] == [None, {"a": 1}, None]


def test_names_with_dots_are_names(tmp_path):
    table = candidates([2], **{"my.id": ["a", "b"], "my": ["c", "d"], "my.id.x": [1, 2]})
    source = open_table(tmp_path, table, columns={"query_id": "my.id"})

    assert source.count_groups() == 2
    assert [group.output.candidates["my"][0].as_py() for group in read_groups(source)] == ["c", "d"]


def test_files_without_rows_do_not_decide_types(tmp_path):
    write(pa.table({"query_id": pa.nulls(0)}), tmp_path / "0.parquet")
    write(candidates([1], query_id=pa.array([7])), tmp_path / "1.parquet")

    (group,) = read_groups(Source(list_input(str(tmp_path))))

    assert group.query_id == 7


@pytest.mark.parametrize(
    ("renamed", "cure"),
    [
        ({"text": "passage"}, "; use --column text=passage"),
        ({"text": "Text"}, "; use --column text=Text"),
        ({"text": "texts"}, "; use --column text=texts"),
        ({"query_id": "qid", "doc_id": "docid"}, "use --column query_id=qid --column doc_id=docid"),
        ({"query": "query-text", "doc_id": "_id"}, "--column query=query-text --column doc_id=_id"),
        ({"text": "zzz"}, "ids without their texts are joined with --corpus FILE"),
        ({"text": "zzz", "query": "yyy"}, "are joined with --queries FILE --corpus FILE"),
        ({"doc_id": "zzz"}, "if the input has other names for them, use --column doc_id=NAME"),
    ],
)
def test_the_cure_for_a_missing_column_names_the_likely_one(tmp_path, renamed, cure):
    table = candidates([1])
    table = table.rename_columns([renamed.get(name, name) for name in table.column_names])

    assert cure in refusal_of(tmp_path, table)


def test_a_column_given_the_wrong_way_round_is_said_to_be(tmp_path):
    with pytest.raises(SettingsError, match="the other way round: --column text=passage"):
        open_table(tmp_path, candidates([1]), columns={"passage": "text"})
