"""Rows of a query hold its candidates: whatever the form, the groups are those of long rows."""

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tables import candidates, open_source, read_groups, write

from pipeline.core.errors import InputError, SettingsError
from pipeline.source.batch_reader import BatchLimits
from pipeline.source.source import Source

S = pa.string()
HIT = pa.struct([("doc_id", S), ("text", S), ("lang", S)])


def nested(documents: list[Any], kind: pa.DataType, **columns: Any) -> pa.Table:
    """Return a row per query; keywords replace or add columns."""
    names = [f"q{number}" for number in range(len(documents))]
    table = {"query_id": pa.array(names), "query": pa.array([f"query {name}" for name in names])}
    return pa.table(table | {"documents": pa.array(documents, kind)} | columns)


def opened(table: pa.Table, folder: Path, **how: Any) -> Source:
    return open_source(write(table, folder / "in.parquet"), **how)


def held(source: Source, *names: str) -> list[tuple[Any, list[Any]]]:
    """Return each query's id, and its candidates' text and other columns."""
    return [
        (
            group.query_id,
            [
                (row["doc_id"], text, *(row[name] for name in names))
                for row, text in zip(
                    group.output.candidates.to_pylist(), group.texts.to_pylist(), strict=True
                )
            ],
        )
        for group in read_groups(source)
    ]


FORMS: dict[str, pa.DataType] = {
    "list": pa.list_(HIT),
    "large_list": pa.large_list(HIT),
    "list_view": pa.list_view(HIT),
    "large_list_view": pa.large_list_view(HIT),
    "odd strings": pa.list_(
        pa.struct(
            [
                ("doc_id", pa.dictionary(pa.int8(), S)),
                ("text", pa.large_string()),
                ("lang", pa.large_string()),
            ]
        )
    ),
    "maps": pa.list_(pa.map_(S, S)),
    "map of structs": pa.map_(S, pa.struct([("text", S), ("lang", S)])),
    "map of texts": pa.map_(S, S),
    "struct of lists": pa.struct([(name, pa.list_(S)) for name in ("doc_id", "text", "lang")]),
    "struct of large lists": pa.struct(
        [("doc_id", pa.large_list(S)), ("text", pa.list_view(S)), ("lang", pa.large_list(S))]
    ),
}


def in_form(form: str, hits: list[dict[str, Any]] | None) -> Any:
    """Return the candidates of a row as a value of the form."""
    if hits is None:
        return None
    if form == "maps":
        return [list(hit.items()) for hit in hits]
    if form == "map of structs":
        return [(hit["doc_id"], {"text": hit["text"], "lang": hit["lang"]}) for hit in hits]
    if form == "map of texts":
        return [(hit["doc_id"], hit["text"]) for hit in hits]
    if form.startswith("struct"):
        return {name: [hit[name] for hit in hits] for name in ("doc_id", "text", "lang")}
    return hits


texts = st.sampled_from(["one", "", None, "汉字", "😀"])
hit_rows = st.lists(
    st.fixed_dictionaries({"doc_id": st.sampled_from("abcd"), "text": texts, "lang": texts}),
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(list(FORMS)),
    st.lists(hit_rows | st.none(), min_size=1, max_size=12),
    st.integers(1, 12),
    st.integers(1, 5),
)
def test_every_form_gives_the_candidates_of_each_row_in_order(form, rows, row_group_size, max_rows):
    documents = [in_form(form, row) for row in rows]
    names = () if form in ("maps", "map of texts") else ("lang",)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.parquet"
        write(nested(documents, FORMS[form]), path, row_group_size=row_group_size)

        source = open_source(path, limits=BatchLimits(max_rows=max_rows))

        expected = [
            (f"q{at}", [(hit["doc_id"], hit["text"], *map(hit.get, names)) for hit in row or ()])
            for at, row in enumerate(rows)
        ]
        assert held(source, *names) == expected
        assert source.count_groups() == len(rows)


def test_lists_of_a_fixed_size_hold_candidates(tmp_path):
    rows = [[{"doc_id": "a", "text": "x", "lang": "l"}] * 2, None]

    assert held(opened(nested(rows, pa.list_(HIT, 2)), tmp_path)) == [
        ("q0", [("a", "x"), ("a", "x")]),
        ("q1", []),
    ]


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list, pa.list_view])
def test_lists_side_by_side_hold_one_value_for_each_candidate(tmp_path, kind):
    table = pa.table(
        {
            "query_id": [7, 8, 9],
            "query": ["x", "y", "z"],
            "pids": pa.array([["a", "b"], [], None], kind(S)),
            "passages": pa.array([["one", None], None, []], kind(S)),
            "first_stage_rank": pa.array([[2, 1], [], []], kind(pa.int64())),
            "tags": [["t"], [], None],
        }
    )
    columns = {"doc_id": "pids", "text": "passages"}

    source = opened(table, tmp_path, columns=columns)

    assert "in the lists 'pids' and 'passages'" in source.layout_found
    assert held(source, "tags") == [
        (7, [("a", "one", ["t"]), ("b", None, ["t"])]),
        (8, []),
        (9, []),
    ]
    assert read_groups(source)[0].first_stage_rank.tolist() == [2, 1]


@pytest.mark.parametrize("form", ["struct", "columns"])
def test_lists_of_different_lengths_are_refused_with_their_row(tmp_path, form):
    lists = {"doc_id": [["a"], ["b", "c"]], "text": [["x"], ["y"]]}
    if form == "struct":
        documents = [{name: lists[name][row] for name in lists} for row in range(2)]
        kind = pa.struct([("doc_id", pa.list_(S)), ("text", pa.list_(S))])
        table = nested(documents, kind)
    else:
        table = nested([[], []], pa.list_(S)).drop_columns("documents")
        table = pa.table(dict(zip(table.column_names, table.columns, strict=True)) | lists)

    with pytest.raises(InputError, match=r"different lengths \(found row 1, query_id 'q1'\)"):
        read_groups(opened(table, tmp_path))


def test_other_names_are_given_by_options(tmp_path):
    hit = pa.struct([("pid", pa.int64()), ("body", S), ("place", pa.int32())])
    table = nested([[{"pid": 3, "body": "x", "place": 9}]], pa.list_(hit))
    table = table.rename_columns(["qid", "question", "hits"])
    columns = {
        "query_id": "qid",
        "query": "question",
        "documents": "hits",
        "doc_id": "documents.pid",
        "text": "hits.body",
        "first_stage_rank": "place",
    }

    source = opened(table, tmp_path, columns=columns)
    (group,) = read_groups(source)

    assert (group.query_id, group.query, group.texts.to_pylist()) == ("q0", "query q0", ["x"])
    assert group.first_stage_rank.tolist() == [9]
    assert source.output_schema.field("doc_id").type == pa.int64()


def test_the_only_column_that_holds_candidates_is_found_whatever_its_name(tmp_path):
    table = nested([[{"doc_id": "a", "text": "x", "lang": "l"}]], pa.list_(HIT), tags=[["t"]])
    table = table.rename_columns(["query_id", "query", "hits", "tags"])

    source = opened(table, tmp_path)

    assert source.layout_found == "a row per query, with its candidates in column 'hits'"
    assert held(source, "lang", "tags") == [("q0", [("a", "x", "l", ["t"])])]


def test_a_field_with_the_name_of_a_column_of_the_row_gets_another(tmp_path):
    rows = [[{"doc_id": "a", "text": "x", "lang": "of document"}]]
    table = nested(rows, pa.list_(HIT), lang=["of row"], text=["of row"], rank=[5])

    source = opened(table, tmp_path, layout="nested")

    names = ("lang", "documents_lang", "text", "input_rank")
    assert held(source, *names) == [("q0", [("a", "x", "of row", "of document", "of row", 5)])]


def test_maps_pass_through_whole(tmp_path):
    row = [[("doc_id", "a"), ("text", "x"), ("url", "u")], [("doc_id", "b")]]

    source = opened(nested([row], FORMS["maps"]), tmp_path)

    assert held(source, "documents") == [("q0", [("a", "x", row[0]), ("b", None, row[1])])]


@pytest.mark.parametrize("form", ["list", "maps"])
def test_a_candidate_that_is_null_is_refused_with_its_row(tmp_path, form):
    hits = [{"doc_id": "a", "text": "x", "lang": "l"}, {"doc_id": None, "text": "y", "lang": "l"}]
    row = in_form(form, hits)
    for documents in ([*row, None], row):
        with pytest.raises(InputError, match=r"null doc_id \(found row 1, query_id 'q1'\)"):
            read_groups(opened(nested([[], documents], FORMS[form]), tmp_path))


def test_long_rows_with_a_list_called_documents_stay_long(tmp_path):
    table = candidates([2], documents=[[{"doc_id": "a", "text": "b"}]] * 2)

    source = opened(table, tmp_path)

    assert source.rows_are_candidates
    assert source.num_candidates == 2


@pytest.mark.parametrize(
    ("documents", "kind"),
    [([["text"]], pa.list_(S)), ([[{"id": "a"}]], None), (["x"], S)],
)
def test_documents_without_ids_and_texts_are_refused(tmp_path, documents, kind):
    table = nested(documents, kind)

    with pytest.raises(InputError, match=r"in\.parquet: missing columns .*doc_id.*text"):
        opened(table, tmp_path, layout="nested")
    with pytest.raises(InputError, match=r"in\.parquet: missing columns .*doc_id.*text"):
        opened(table, tmp_path)


def test_documents_may_be_named_only_where_there_are_such(tmp_path):
    with pytest.raises(SettingsError, match=r"--column: unknown column .*documents"):
        opened(candidates([1]), tmp_path, layout="long", columns={"documents": "x"})
    with pytest.raises(InputError, match="missing columns"):
        opened(candidates([1]), tmp_path, columns={"documents": "hits"})


def test_files_may_differ_in_the_form_of_their_lists(tmp_path):
    row = [{"doc_id": "a", "text": "x", "lang": "l"}]
    write(nested([row, row], pa.list_(HIT)), tmp_path / "in/0.parquet")
    other = nested([row], pa.large_list(HIT), query_id=["r"], query=["other"])
    write(other, tmp_path / "in/1.parquet")

    found = held(open_source(tmp_path / "in"), "lang")

    assert found == [(name, [("a", "x", "l")]) for name in ("q0", "q1", "r")]
