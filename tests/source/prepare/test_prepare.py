"""Candidates of any form become long rows: joined, converted, sorted, whatever the limits."""

import gzip
import io
import json
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tables import candidates, open_source, read_groups, write

from pipeline.core.errors import InputError, SettingsError
from pipeline.core.preparation import Preparation
from pipeline.source.prepare.joining import JoinLimits
from pipeline.source.prepare.prepare import Prepared, PrepareLimits, Preparer

TINY = PrepareLimits(join=JoinLimits(max_text_bytes=8, batch_rows=3), max_bucket_bytes=64)


def made(
    given: Path,
    *,
    limits: PrepareLimits | None = None,
    columns: dict[str, str] | None = None,
    layout: str = "auto",
    max_queries: int | None = None,
    **how: Any,
) -> tuple[bytes, Prepared]:
    """Prepare candidates; return the bytes of the file, and how to read it."""
    preparer = Preparer(
        str(given),
        Preparation(**how),
        columns=columns or {},
        layout=layout,
        max_queries=max_queries,
    )
    stream = io.BytesIO()
    with tempfile.TemporaryDirectory() as spool:
        prepared = preparer.write(stream, Path(spool), limits=limits or PrepareLimits())
    return stream.getvalue(), prepared


def rows_of(given: Path, **how: Any) -> list[dict[str, Any]]:
    """Prepare candidates; return the rows."""
    content, prepared = made(given, **how)
    assert (prepared.layout, prepared.columns) == ("long", {})
    return pq.read_table(io.BytesIO(content)).to_pylist()


def lines(path: Path, *rows: object) -> Path:
    """Write JSON lines, gzipped by the suffix."""
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def by_id(path: Path, ids: Sequence[tuple[Any, Any]], **columns: Any) -> Path:
    """Write candidates as pairs of ids."""
    table = {"query_id": [q for q, _ in ids], "doc_id": [d for _, d in ids]}
    return write(pa.table(table | columns), path)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return lines(
        tmp_path / "corpus.jsonl",
        {"_id": "a", "title": "A", "text": "one"},
        {"_id": "b", "title": None, "text": "汉字 😀"},
        {"_id": "c", "title": "C", "text": None},
    )


queries = st.sampled_from(["x", "y", "z"])
documents = st.sampled_from("abcde")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(queries, documents), min_size=1, max_size=30),
    st.dictionaries(documents, st.sampled_from(["", "text", "汉字 " * 9]), max_size=5),
    st.booleans(),
)
def test_the_result_is_that_of_a_plain_join_whatever_the_limits(ids, texts, sort):
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        given = by_id(folder / "ids.parquet", ids, place=range(len(ids)))
        write(
            pa.table(
                {
                    "doc_id": pa.array(texts.keys(), pa.string()),
                    "text": pa.array(texts.values(), pa.string()),
                }
            ),
            folder / "corpus.parquet",
        )
        lines(folder / "queries.jsonl", *({"_id": q, "text": f"query {q}"} for q in "xyz"))
        how: dict[str, Any] = {
            "corpus": str(folder / "corpus.parquet"),
            "queries": str(folder / "queries.jsonl"),
            "missing": "skip",
            "sort_input": True,
        }
        if not sort:
            ids = sorted(ids)
            given = by_id(folder / "ids.parquet", ids, place=range(len(ids)))
            how["sort_input"] = False

        content, _ = made(given, **how)
        same, _ = made(given, limits=TINY, **how)

    first = {query: place for place, (query, _) in reversed(list(enumerate(ids)))}
    places = sorted(range(len(ids)), key=lambda place: (first[ids[place][0]], place))
    assert pq.read_table(io.BytesIO(content)).to_pylist() == [
        {
            "query_id": ids[place][0],
            "doc_id": ids[place][1],
            "place": place,
            "query": f"query {ids[place][0]}",
            "text": texts.get(ids[place][1]),
        }
        for place in places
    ]
    assert content == same


def test_missing_texts_are_refused_with_counts_and_examples(tmp_path, corpus):
    given = by_id(tmp_path / "ids.parquet", [("q", name) for name in "axbyxz"], query=["q"] * 6)

    with pytest.raises(InputError) as refusal:
        made(given, corpus=str(corpus))

    message = str(refusal.value)
    assert "3 of 5 values of doc_id are not in --corpus" in message
    assert "(found 4 candidates: 'x', 'y', 'z')" in message
    assert "--missing skip" in message


def test_ids_of_another_form_are_shown_where_nothing_matches(tmp_path, corpus):
    given = by_id(tmp_path / "ids.parquet", [("q", 7), ("q", 8)], query=["q"] * 2)

    with pytest.raises(InputError, match="'7', '8', and there are such as 'a'"):
        made(given, corpus=str(corpus))


def test_missing_texts_are_null_where_they_are_to_be_skipped_and_blank_ones_are_not(
    tmp_path, corpus
):
    given = by_id(tmp_path / "ids.parquet", [("q", name) for name in "xca"], query=["q"] * 3)

    rows = rows_of(given, corpus=str(corpus), missing="skip")

    assert [row["text"] for row in rows] == [None, "", "one"]


def test_a_template_makes_the_text_of_fields(tmp_path, corpus):
    given = by_id(tmp_path / "ids.parquet", [("q", name) for name in "abc"], query=["q"] * 3)

    rows = rows_of(given, corpus=str(corpus), text_template="{title}\\n{text}")

    assert [row["text"] for row in rows] == ["A\none", "汉字 😀", "C"]


@pytest.mark.parametrize("template", ["", "{", "plain", "{title!r}", "{text:>9}", "{}"])
def test_a_template_that_cannot_be_used_is_refused(template):
    with pytest.raises(SettingsError, match="--text-template: "):
        Preparation(corpus="x", text_template=template)


@pytest.mark.parametrize(
    "how", [{"missing": "skip"}, {"text_template": "{title}"}, {"corpus": ""}, {"queries": ""}]
)
def test_options_without_effect_are_refused(how):
    with pytest.raises(SettingsError):
        Preparation(**how)


def test_a_field_that_the_corpus_lacks_is_named(tmp_path, corpus):
    given = by_id(tmp_path / "ids.parquet", [("q", "a")], query=["q"])

    with pytest.raises(InputError, match=r"corpus\.jsonl: no column 'body' \(found .*title"):
        made(given, corpus=str(corpus), text_template="{body}")


def test_an_id_that_the_corpus_holds_twice_is_refused(tmp_path):
    corpus = lines(tmp_path / "c.jsonl", {"_id": "a", "text": "x"}, {"_id": "a", "text": "y"})
    given = by_id(tmp_path / "ids.parquet", [("q", "a")], query=["q"])

    with pytest.raises(InputError, match=r"twice in --corpus \(found 'a'\)"):
        made(given, corpus=str(corpus))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.string(), ["007", "7", " 7"]),
        (pa.int8(), [-7, 7, 0]),
        (pa.uint64(), [2**64 - 1, 7, 0]),
        (pa.int64(), [-(2**63), 2**53 + 1, 7]),
        (pa.dictionary(pa.int8(), pa.string()), ["007", "7", "x"]),
        (pa.large_string(), ["007", "7", "x"]),
        (pa.string_view(), ["007", "7", "x"]),
        (pa.binary(), [b"007", b"7", b"x"]),
        (pa.uuid(), [UUID(int=7), UUID(int=2**127), UUID(int=3)]),
    ],
)
@pytest.mark.parametrize("corpus_kind", ["same", "strings"])
def test_ids_keep_their_type_and_are_found_by_their_text(tmp_path, kind, values, corpus_kind):
    stored = [value.bytes for value in values] if kind == pa.uuid() else values
    ids = pa.array(stored, kind)
    names = [value.decode() if isinstance(value, bytes) else str(value) for value in values]
    given = write(
        pa.table({"query_id": ["q"] * 3, "query": ["x"] * 3, "doc_id": ids}), tmp_path / "i.parquet"
    )
    if corpus_kind == "same":
        corpus = write(pa.table({"doc_id": ids, "text": names}), tmp_path / "corpus.parquet")
    else:
        corpus = lines(tmp_path / "c.jsonl", *({"_id": name, "text": name} for name in names))

    content, _ = made(given, corpus=str(corpus))

    table = pq.read_table(io.BytesIO(content))
    assert table["text"].to_pylist() == names
    expected = kind if pa.types.is_integer(kind) else None
    if expected is not None:
        assert table.schema.field("doc_id").type == expected
        assert table["doc_id"].to_pylist() == values
    else:
        assert table["doc_id"].to_pylist() == names


def test_columns_of_any_type_pass_through_a_join_and_a_sort(tmp_path, corpus):
    columns = {
        "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int8())),
        "decimal": pa.array([Decimal("1.50"), None, Decimal("-2.25")], pa.decimal256(50, 2)),
        "time": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 3, pa.timestamp("ms", "UTC")),
        "list": pa.array([[{"x": b"\xff"}], [], None]),
        "nothing": pa.nulls(3),
        "fixed": pa.array([b"ab", None, b"cd"], pa.binary(2)),
        "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}", None, "[]"])),
        "uuid": pa.array([UUID(int=1).bytes, None, UUID(int=2).bytes], pa.uuid()),
        "half": pa.array([1.5, None, 2.5], pa.float16()),
        "text": ["own", "text", "here"],
        "rank": [3, 2, 1],
        "first_stage_rank": pa.array([3, 1, 2], pa.int64()),
    }
    ids = [("q", "a"), ("r", "b"), ("q", "c")]
    given = by_id(tmp_path / "ids.parquet", ids, query=["q", "r", "q"], **columns)

    content, _ = made(given, corpus=str(corpus), sort_input=True)

    table = pq.read_table(io.BytesIO(content))
    order = [0, 2, 1]
    for name, values in columns.items():
        new = f"input_{name}" if name in ("text", "rank") else name
        expected = pa.array(values).to_pylist()
        assert table[new].to_pylist() == [expected[place] for place in order], name
        if name not in ("text", "rank", "first_stage_rank"):
            assert table.schema.field(new).type == values.type
    assert table["text"].to_pylist() == ["one", "", "汉字 😀"]


TREC = b"q1 Q0 a 1 9.5 tag\nq1 Q0 b 2 9 tag\n\nq2\tQ0\ta\t1\t-1e-3\ttag\r\n"
CSV = (
    b"query_id,doc_id,first_stage_rank,first_stage_score\r\nq1,a,1,9.5\r\nq1,b,2,9\r\nq2,a,1,-1e-3"
)
KEYS = ("query_id", "doc_id", "first_stage_rank", "first_stage_score")
ROWS = [("q1", "a", 1, 9.5), ("q1", "b", 2, 9.0), ("q2", "a", 1, -1e-3)]
JSON = b"".join(json.dumps(dict(zip(KEYS, row, strict=True))).encode() + b"\n" for row in ROWS)
FORMATS = {
    ".trec": TREC,
    ".run": TREC,
    ".txt": TREC,
    ".csv": CSV,
    ".tsv": CSV.replace(b",", b"\t"),
    ".jsonl": JSON,
    ".ndjson": JSON,
}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("packed", ["", ".gz", ".zst", "/"])
def test_candidates_of_every_format_are_the_same(tmp_path, corpus, suffix, packed):
    content = FORMATS[suffix]
    given = tmp_path / f"in{suffix}{packed.strip('/')}"
    if packed == ".gz":
        given.write_bytes(gzip.compress(content[:20]) + gzip.compress(content[20:]))
    elif packed == ".zst":
        given.write_bytes(pa.Codec("zstd").compress(content, asbytes=True))
    elif packed == "/":
        given = tmp_path / "in"
        given.mkdir()
        (given / f"0{suffix}").write_bytes(content)
        (given / "_SUCCESS").write_bytes(b"")
    else:
        given.write_bytes(content)
    names = lines(tmp_path / "q.jsonl.gz", {"_id": "q1", "text": "x"}, {"_id": "q2", "text": "y"})

    rows = rows_of(given, corpus=str(corpus), queries=str(names))

    assert [tuple(row[key] for key in KEYS) for row in rows] == ROWS
    assert [row["query"] for row in rows] == ["x", "x", "y"]
    assert [row["text"] for row in rows] == ["one", "汉字 😀", "one"]


@pytest.mark.parametrize("name", ["c.tsv", "c.csv", "c.parquet", "c.jsonl", "folder", "bare.tsv"])
def test_texts_come_from_every_format(tmp_path, name):
    texts = pl.DataFrame({"_id": ["1", "2"], "text": ['say "x"', "汉字 😀"]})
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        texts.head(1).write_ndjson(path / "0.jsonl")
        texts.tail(1).write_ndjson(path / "1.jsonl")
    elif name.endswith("tsv"):
        header = [] if name.startswith("bare") else [("_id", "text")]
        path.write_text("".join(f"{one}\t{other}\n" for one, other in [*header, *texts.rows()]))
    else:
        {".csv": texts.write_csv, ".parquet": texts.write_parquet, ".jsonl": texts.write_ndjson}[
            path.suffix
        ](path)
    given = by_id(tmp_path / "ids.parquet", [("q", "2"), ("q", "1")], query=["x"] * 2)

    assert [row["text"] for row in rows_of(given, corpus=str(path))] == ["汉字 😀", 'say "x"']


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.trec", b"q Q0 a 1\n", "line 1 is not one of a TREC run"),
        ("c.trec", b"q Q0 a one 1 t\n", "line 1 is not one of a TREC run"),
        ("c.trec", b"q Q0 a 1 1 t\nq Q0 \xff 1 1 t\n", "line 2 is not UTF-8"),
        ("c.jsonl", b'{"query_id": 1}\n{"doc', "line 2 is not JSON"),
        ("c.jsonl", b'{"query_id": 1}\n[1]\n', "line 2 is not a JSON object"),
        ("c.jsonl", b"", "cannot be read as jsonl"),
        ("c.csv", b"", "is empty, without a header"),
        ("c.csv", b"query_id,doc_id\n1,2,3\n", "too many fields"),
        ("c.csv", b"query_id,doc_id,doc_id\n1,2,3\n", "more than one column is called 'doc_id'"),
        ("c.csv", b"query_id,first_stage_rank\n1,x\n", "'first_stage_rank' holds no number"),
        ("c.csv", b'query_id,doc_id\n1,"2\n', "cannot be read as csv"),
        ("c.csv", b"a,b\n1,2\n", "missing columns ['query_id', 'query', 'doc_id', 'text']"),
        ("c.csv", b"query_id,query,doc_id,text\n,q,2,3\n", "null query_id (found row 0"),
        ("c.csv.gz", b"query_id,doc_id\n1,2\n", "not gzip data, or damaged"),
        ("c.jsonl.zst", gzip.compress(b"{}\n"), "not zstd data, or damaged"),
        ("c.csv.gz", gzip.compress(CSV * 99)[:-20], "not gzip data, or damaged"),
        ("c.parquet", CSV, "not a Parquet file"),
        ("c.parquet.gz", CSV, "not a Parquet file"),
        ("c.xlsx", CSV, "not a Parquet file"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read_are_refused_in_one_line_that_names_them(
    tmp_path, name, content, message
):
    given = tmp_path / name
    given.write_bytes(content)

    with pytest.raises(InputError) as refusal:
        made(given)

    assert message in str(refusal.value)
    assert name in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_folder_of_several_formats_is_refused_unless_one_is_parquet(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_bytes(b"query_id,query,doc_id,text\nq,x,d,t\n")
    (folder / "b.jsonl").write_bytes(JSON)
    with pytest.raises(InputError, match=r"several formats \(found a\.csv, b\.jsonl"):
        made(folder)

    write(candidates([1]), folder / "c.parquet")

    assert [row["doc_id"] for row in rows_of(folder)] == ["d0-0"]


def test_rows_that_are_not_adjacent_are_refused_with_the_name_of_their_file(tmp_path, corpus):
    given = by_id(tmp_path / "ids.parquet", [("q", "a"), ("r", "a"), ("q", "b")], query=["x"] * 3)

    with pytest.raises(InputError, match=r"ids\.parquet: .*not adjacent.*--sort-input"):
        made(given, corpus=str(corpus))


@pytest.mark.parametrize("sort", [False, True])
@pytest.mark.parametrize(("limit", "kept"), [(1, 2), (2, 5), (3, 6), (9, 6)])
def test_only_the_first_queries_are_taken(tmp_path, sort, limit, kept):
    given = write(candidates([2, 3, 1]), tmp_path / "in.parquet")

    rows = rows_of(given, sort_input=sort, max_queries=limit)

    assert rows == candidates([2, 3, 1]).slice(0, kept).select(list(rows[0])).to_pylist()


def test_nested_json_lines_stay_nested_with_their_empty_queries(tmp_path):
    given = lines(
        tmp_path / "in.jsonl",
        {"query_id": 1, "query": "x", "documents": [{"doc_id": "a", "text": "t"}]},
        {"query_id": 2, "query": "y", "documents": []},
    )

    content, prepared = made(given)

    assert prepared == Prepared("auto", {}, 0)
    assert pq.read_table(io.BytesIO(content)).to_pylist() == [
        json.loads(line) for line in given.read_text().splitlines()
    ]


def test_nested_candidates_are_joined_and_stay_nested(tmp_path, corpus):
    given = lines(
        tmp_path / "in.jsonl",
        {"query_id": 1, "query": "x", "documents": [{"doc_id": "b"}, {"doc_id": "a"}]},
        {"query_id": 2, "query": "y", "documents": []},
        {"query_id": 3, "query": None, "documents": None},
        {"query_id": 4, "query": "z", "documents": [{"doc_id": "a"}]},
    )

    content, prepared = made(given, corpus=str(corpus), columns={"documents": "documents"})

    assert prepared == Prepared("nested", {}, 0)
    rows = pq.read_table(io.BytesIO(content)).to_pylist()
    a, b = {"doc_id": "a", "text": "one"}, {"doc_id": "b", "text": "汉字 😀"}
    assert [(row["query_id"], row["query"], row["documents"]) for row in rows] == [
        (1, "x", [b, a]), (2, "y", []), (3, None, []), (4, "z", [a]),
    ]  # fmt: skip


HELD = st.lists(st.tuples(st.integers(0, 4), st.lists(st.integers(0, 9), max_size=5)), max_size=12)


@settings(deadline=None, max_examples=40)
@given(rows=HELD, row_group=st.integers(1, 5), sort=st.booleans(), join=st.booleans())
def test_nested_candidates_give_the_same_groups_joined_or_sorted(
    tmp_path_factory, rows, row_group, sort, join
):
    folder = tmp_path_factory.mktemp("in")
    if not sort:
        rows = [(at, held) for at, (_, held) in enumerate(rows)]
    fields = ["doc_id", "place", *(["text"] * (not join))]
    documents = [
        [{"doc_id": d, "place": f"{at}.{d}", "text": f"t{d}"} for d in held]
        for at, (_, held) in enumerate(rows)
    ]
    kind = pa.struct([(name, pa.int64() if name == "doc_id" else pa.string()) for name in fields])
    table = pa.table(
        {
            "query_id": pa.array([query for query, _ in rows], pa.int64()),
            "query": pa.array([f"q{query}" for query, _ in rows], pa.string()),
            "documents": pa.array(
                [[{name: hit[name] for name in fields} for hit in hits] for hits in documents],
                pa.list_(kind),
            ),
        }
    )
    given = write(table, folder / "in.parquet", row_group_size=row_group)
    corpus = lines(folder / "c.jsonl", *({"_id": d, "text": f"t{d}"} for d in range(10)))
    how = {"corpus": str(corpus)} if join else {}

    content, prepared = made(
        given, layout="nested", columns={"documents": "documents"}, limits=TINY, sort_input=sort,
        **how,
    )  # fmt: skip

    (folder / "made.parquet").write_bytes(content)
    source = open_source(
        folder / "made.parquet", layout=prepared.layout if sort or join else "nested"
    )
    expected = {query: [] for query, _ in rows}
    for (query, _), hits in zip(rows, documents, strict=True):
        expected[query] += [(hit["doc_id"], hit["place"], hit["text"]) for hit in hits]
    found = {
        group.query_id: list(
            zip(
                group.output.candidates["doc_id"].to_pylist(),
                group.output.candidates["place"].to_pylist(),
                group.texts.to_pylist(),
                strict=True,
            )
        )
        for group in read_groups(source)
    }
    assert (found, [*found]) == (expected, [*expected])
    assert prepared.num_repeated == sum(
        len(hits) - len({hit[0] for hit in hits}) for hits in expected.values()
    )


def test_two_queries_under_one_id_stay_two_rows_for_the_run_to_refuse(tmp_path, corpus):
    given = lines(
        tmp_path / "in.jsonl",
        {"query_id": 1, "query": "x", "documents": [{"doc_id": "b"}]},
        {"query_id": 1, "query": "y", "documents": [{"doc_id": "a"}]},
    )

    content, _ = made(given, corpus=str(corpus), columns={"documents": "documents"})

    rows = pq.read_table(io.BytesIO(content)).to_pylist()
    assert [(row["query_id"], row["query"]) for row in rows] == [(1, "x"), (1, "y")]


def test_repeated_ids_of_long_rows_are_counted(tmp_path, corpus):
    given = by_id(tmp_path / "in.parquet", [(1, "a"), (2, "a"), (1, "a")], query=["x", "y", "x"])

    _, prepared = made(given, corpus=str(corpus), sort_input=True)

    assert prepared == Prepared("long", {}, 1)


def test_an_input_without_rows_gives_a_file_without_rows(tmp_path, corpus):
    table = pa.table({name: pa.array([], pa.string()) for name in ("query_id", "query", "doc_id")})
    given = write(table, tmp_path / "in.parquet")

    for sort in (False, True):
        content, _ = made(given, corpus=str(corpus), sort_input=sort)
        table = pq.read_table(io.BytesIO(content))
        assert (table.num_rows, table.column_names) == (0, ["query_id", "doc_id", "query", "text"])


def test_a_file_that_changes_meanwhile_is_refused(tmp_path, corpus):
    given = by_id(tmp_path / "ids.parquet", [("q", "a")], query=["q"])
    preparer = Preparer(str(given), Preparation(corpus=str(corpus)), columns={})
    lines(corpus, {"_id": "a", "text": "another"})

    with pytest.raises(InputError, match=r"corpus\.jsonl: changed while it was read"):
        preparer.write(io.BytesIO(), tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.jsonl", b'{"_id": "a", "text": "x"}\n' * 2_000 + b"{", "line 2001 is not JSON"),
        ("c.jsonl", b'{"_id": "a", "text": "x"}\n["secret"]', "line 2 is not a JSON object"),
        ("c.csv", b"_id,text\na,secret,b\n", "c.csv: cannot be read as csv"),
        ("c.csv", b'_id,text\na,"secret', "c.csv: cannot be read as csv"),
        ("c.tsv", b"_id\ttext\na\tsecret\tb\n", "c.tsv: cannot be read as tsv"),
        ("c.tsv", b"a\tsecret\xff\n" * 9, "c.tsv: line 1 is not UTF-8"),
        ("c.trec", TREC, "c.trec: a TREC run holds no texts"),
        ("c.parquet", b"PAR1", "c.parquet: not a Parquet file, or a damaged one"),
        ("c.txt.gz", b"x", "c.txt.gz: "),
        ("nowhere.tsv", None, "nowhere.tsv: no such file"),
        ("folder", None, "folder: no such file"),
    ],
)
def test_texts_that_cannot_be_read_are_refused_in_one_line_without_a_text(
    tmp_path, name, content, message
):
    given = by_id(tmp_path / "ids.parquet", [("q", "a")], query=["q"])
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(InputError) as refusal:
        made(given, corpus=str(tmp_path / name))

    assert message in str(refusal.value)
    assert "secret" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_corpus_whose_pages_are_damaged_is_named(tmp_path):
    given = by_id(tmp_path / "ids.parquet", [("q", "a")], query=["q"])
    texts = pa.table({"doc_id": ["a", "b"] * 500, "text": [f"text {at}" for at in range(1000)]})
    corpus = write(texts, tmp_path / "corpus.parquet", compression="none")
    content = bytearray(corpus.read_bytes())
    content[40:4000] = b"\xff" * 3960
    corpus.write_bytes(content)

    with pytest.raises(InputError, match=r"corpus\.parquet: "):
        made(given, corpus=str(corpus))


def test_many_buckets_are_never_open_at_once(tmp_path):
    sizes = [1] * 3_000
    given = write(candidates(sizes).take([*range(2_999, -1, -1)]), tmp_path / "in.parquet")
    limits = PrepareLimits(max_bucket_bytes=1)

    rows = rows_of(given, sort_input=True, limits=limits)

    assert [row["query_id"] for row in rows] == [f"q{at}" for at in range(2_999, -1, -1)]


def test_folders_of_text_files_become_columns(tmp_path):
    for day in (1, 2):
        folder = tmp_path / f"in/day={day}"
        folder.mkdir(parents=True)
        rows = f"query_id,query,doc_id,text\nq{day},x,d,t\n"
        (folder / "0.csv.gz").write_bytes(gzip.compress(rows.encode()))

    rows = rows_of(tmp_path / "in")

    assert [(row["query_id"], row["day"]) for row in rows] == [("q1", 1), ("q2", 2)]


@pytest.mark.parametrize("suffix", [".jsonl", ".tsv", ".csv", ".parquet"])
def test_names_that_look_like_globs_are_names(tmp_path, suffix):
    folder = tmp_path / "a[1]*?"
    folder.mkdir()
    for name in ("c[1]", "c1"):  # as a glob, the first would stand for the second
        texts = pl.DataFrame({"_id": ["a"], "text": [name]})
        path = folder / f"{name}{suffix}"
        {
            ".jsonl": texts.write_ndjson,
            ".csv": texts.write_csv,
            ".tsv": lambda path, frame=texts: frame.write_csv(path, separator="\t"),
            ".parquet": texts.write_parquet,
        }[suffix](path)
    (folder / "r[1].run").write_bytes(b"q Q0 a 1 1 t\n")
    (folder / "r1.run").write_bytes(b"other Q0 a 1 1 t\n")
    (folder / "q*.tsv").write_bytes(b"q\tx\n")

    stream = io.BytesIO()
    spool = folder / "spool"
    spool.mkdir()
    preparation = Preparation(corpus=str(folder / f"c[1]{suffix}"), queries=str(folder / "q*.tsv"))
    Preparer(str(folder / "r[1].run"), preparation, columns={}).write(stream, spool)

    (row,) = pq.read_table(stream).to_pylist()
    assert (row["query_id"], row["text"]) == ("q", "c[1]")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_damaged_corpus_is_refused_by_its_name_whatever_polars_makes_of_it(tmp_path):
    """A page that begins where the file has ended, as its footer says, makes Polars panic."""
    given = by_id(tmp_path / "in.parquet", [(1, "d1")], query=["x"])
    table = pa.table({"doc_id": [f"d{n}" for n in range(40)], "text": ["t"] * 40})
    path = write(table, tmp_path / "corpus.parquet", row_group_size=20)
    content, refused = path.read_bytes(), list[str]()
    footer = len(content) - int.from_bytes(content[-8:-4], "little") - 8

    for at in range(footer, len(content) - 8, 7):
        path.write_bytes(content[:at] + b"\x7f" + content[at + 1 :])
        try:
            rows_of(given, corpus=str(path))
        except InputError as error:
            refused.append(str(error))
    assert len(refused) > 20
    assert all("corpus.parquet" in message for message in refused)
