"""Judgements: every format gives the same table, and what is wrong is told in one line."""

import gzip
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tables import write

from pipeline.core.errors import InputError
from pipeline.evaluation.judgements import MAX_RELEVANCE, read_judgements

EXPECTED = [("q1", "a", 2), ("q1", "b", 0), ("q2", "a", 1)]
TREC = "q2 0 a 1\nq1 0 b 0\nq1 0 a 2\n"
TSV = "query-id\tcorpus-id\tscore\nq2\ta\t1\nq1\tb\t0\nq1\ta\t2\n"
CSV = "query_id,doc_id,relevance\nq2,a,1\nq1,b,0\nq1,a,2\n"
BEIR_LINES = (
    '{"query-id": "q2", "corpus-id": "a", "score": 1}\n'
    '{"query-id": "q1", "corpus-id": "b", "score": "0"}\n'
    '{"query-id": "q1", "corpus-id": "a", "score": 2.0}\n'
)


def zstd(text: str) -> bytes:
    return pa.Codec("zstd").compress(text.encode(), asbytes=True)


def zipped(text: str) -> bytes:
    return gzip.compress(text.encode())


def file(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def parquet(folder: Path, **columns: Any) -> str:
    good = {"query_id": ["q1", "q2"], "doc_id": ["a", "a"], "relevance": [2, 1]}
    return str(write(pa.table(good | columns), folder / "qrels.parquet"))


def refusal(name: str) -> str:
    with pytest.raises(InputError) as caught:
        read_judgements(name)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(name)
    return message.removeprefix(name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("qrels.txt", TREC),
        ("qrels.trec", TREC.replace(" ", "\t")),
        ("qrels.qrels", TREC),
        ("QRELS.TXT", TREC),
        ("qrels.txt.gz", zipped(TREC)),
        ("qrels.qrels.zst", zstd(TREC)),
        ("qrels.tsv", TSV),
        ("qrels.tsv.gz", zipped(TSV)),
        ("qrels.csv", CSV),
        ("qrels.csv.zst", zstd(CSV)),
        ("qrels.jsonl", BEIR_LINES),
        ("qrels.ndjson.gz", zipped(BEIR_LINES)),
    ],
)
def test_every_format_gives_the_same_judgements(
    name: str, content: str | bytes, tmp_path: Path
) -> None:
    judged = read_judgements(file(tmp_path, name, content))

    assert judged.rows() == EXPECTED
    assert judged.schema == {"query_id": pl.String, "doc_id": pl.String, "relevance": pl.Int64}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.txt", b"\xef\xbb\xbf" + TREC.encode()),
        ("bom.csv", b"\xef\xbb\xbf" + CSV.encode()),
        ("bom.jsonl", b"\xef\xbb\xbf" + BEIR_LINES.encode()),
        ("crlf.txt", TREC.replace("\n", "\r\n")),
        ("crlf.tsv", TSV.replace("\n", "\r\n")),
        ("crlf.jsonl", BEIR_LINES.replace("\n", "\r\n")),
        ("blank.txt", TREC.replace("\n", "\n \n\n")),
        ("blank.csv", CSV.replace("\n", "\n\n")),
        ("blank.jsonl", BEIR_LINES.replace("\n", "\n\n")),
        ("indented.txt", TREC.replace("q", "  q").replace(" 0", " \t 0")),
        ("endless.txt", TREC.removesuffix("\n")),
        ("twice.txt", TREC + TREC),
        ("members.txt.gz", zipped("q2 0 a 1\n") + zipped("q1 0 b 0\nq1 0 a 2\n")),
        ("more.csv", CSV.replace("\n", ",x\n")),
        ("case.csv", CSV.replace("query_id", "Query-ID").replace("doc_id", "DOC_ID")),
        ("quoted.csv", CSV.replace("q1", '"q1"')),
    ],
)
def test_what_writers_do_to_files_does_not_matter(
    name: str, content: str | bytes, tmp_path: Path
) -> None:
    assert read_judgements(file(tmp_path, name, content)).rows() == EXPECTED


@pytest.mark.parametrize(
    "relevance",
    [
        pa.array([2, 1], pa.int8()),
        pa.array([2, 1], pa.uint64()),
        pa.array([2, 1], pa.float16()),
        pa.array([2, 1], pa.float32()),
        pa.array([2.0, 1.0]),
        pa.array([Decimal("2.00"), Decimal("1.00")]),
        pa.array(["2", "1"]),
        pa.array(["2.0", "+1"], pa.large_string()),
        pa.array([" 2", "01"]),
        pa.array(["2", "1"]).dictionary_encode(),
    ],
)
def test_a_whole_number_of_any_type_is_a_relevance(relevance: Any, tmp_path: Path) -> None:
    judged = read_judgements(parquet(tmp_path, relevance=relevance))

    assert judged["relevance"].to_list() == [2, 1]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array([10, 9], pa.int32()), ["10", "9"]),
        (pa.array([2**64 - 1, 2**63], pa.uint64()), [str(2**64 - 1), str(2**63)]),
        (pa.array([-1, -2]), ["-1", "-2"]),
        (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
        (pa.array([b"x", b"y"]), ["x", "y"]),
        (pa.array(["x", "y"], pa.string_view()), ["x", "y"]),
        (pa.array(["", "a b\tc\nd"]), ["", "a b\tc\nd"]),
        (pa.array(["日本", "e\u0301"]), ["日本", "e\u0301"]),
        (pa.array(["x\0y", "x" * 1_000_000]), ["x\0y", "x" * 1_000_000]),
    ],
)
def test_ids_are_strings_or_integers_kept_exactly(
    ids: Any, expected: list[str], tmp_path: Path
) -> None:
    name = parquet(tmp_path, query_id=ids)

    assert read_judgements(name)["query_id"].to_list() == sorted(expected)


def test_negative_relevances_are_kept(tmp_path: Path) -> None:
    judged = read_judgements(file(tmp_path, "qrels.txt", "q1 0 a -2\nq1 0 b -1\n"))

    assert judged["relevance"].to_list() == [-2, -1]


def test_a_folder_of_parquet_files_is_read_as_one(tmp_path: Path) -> None:
    for name, relevance in (("part-0.parquet", [2]), ("part-1.parquet", [1.0])):
        table = pa.table({"query_id": [name], "doc_id": ["a"], "relevance": relevance})
        write(table, tmp_path / "qrels" / name)
    (tmp_path / "qrels" / "_SUCCESS").touch()

    assert read_judgements(str(tmp_path / "qrels"))["relevance"].to_list() == [2, 1]


def test_our_column_names_go_before_those_of_beir(tmp_path: Path) -> None:
    judged = read_judgements(parquet(tmp_path, score=[0.3, 0.7]))

    assert judged["relevance"].to_list() == [2, 1]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("qrels.xlsx", "", "unknown kind of file"),
        ("qrels", TREC, "unknown kind of file"),
        ("qrels.json", BEIR_LINES, "unknown kind of file"),
        ("qrels.gz", zipped(TREC), "unknown kind of file"),
        ("qrels.parquet.gz", b"", "unknown kind of file"),
        ("empty.txt", "", "holds no judgements"),
        ("empty.csv", "", "is empty"),
        ("header.csv", CSV.splitlines()[0], "holds no judgements"),
        ("empty.jsonl", "\n\n", "holds no judgements"),
        ("empty.parquet", "", "is not Parquet, or damaged"),
        ("table.parquet", CSV, "is not Parquet, or damaged"),
        ("plain.txt.gz", TREC, "is not gzip data, or damaged"),
        ("plain.csv.zst", CSV, "is not zstd data, or damaged"),
        ("cut.txt.gz", zipped(TREC * 1000)[:40], "is not gzip data, or damaged"),
        ("packed.txt", zipped(TREC), "line 1 is not UTF-8; it is compressed: name it .gz"),
        ("packed.csv", zstd(CSV), "it is compressed: name it .zst"),
        ("latin.csv", CSV.replace("b", "é").encode("latin-1"), "line 3 is not UTF-8"),
        ("wide.csv", CSV.encode("utf-16"), "line 1 is not UTF-8"),
        ("short.txt", "q1 0 a 1\nq1 a 1\n", "line 2 is not one of TREC judgements (found 3 fields"),
        ("run.trec", "q1 Q0 a 1 0.5 tag\n", "(found 6 fields, expected 4"),
        ("blanks.txt", "my query 0 my doc 1\n", "ids with blanks need .tsv, .csv or .jsonl"),
        ("table.txt", CSV, "line 1 is not one of TREC judgements"),
        ("lines.csv", TREC, "a file without a header is .trec or .qrels"),
        ("lines.tsv", TREC.replace(" ", "\t"), "missing columns"),
        ("other.csv", "query,document,label\nq1,a,1\n", "found ['query', 'document', 'label']"),
        ("semicolon.csv", CSV.replace(",", ";"), "missing columns"),
        ("two.csv", "query_id,doc_id\nq1,a\n", "missing columns ['relevance']"),
        ("double.csv", "query_id,doc_id,doc_id,relevance\n", "two columns for doc_id"),
        ("alias.csv", "query_id,query-id,doc_id,relevance\n", "two columns for query_id"),
        ("long.csv", CSV + "q1,c,1,9\n", "row 4 does not fit the header (found 4 fields"),
        ("open.csv", CSV + '"q1,c,1\nq3,d,1\n', "cannot be read as a table"),
        ("gap.csv", CSV + "q1,,1\n", "null doc_id (found row 4)"),
        ("gap.tsv", TSV + "q1\tc\t\n", "null relevance (found None in row 4"),
        ("word.txt", "q1 0 a 1\nq1 0 b high\n", "not a whole number (found 'high' in line 2"),
        ("half.txt", "q1 0 a .5\n", "relevance is not a whole number (found '.5' in line 1"),
        ("nan.csv", CSV + "q1,c,NaN\n", "relevance is not a whole number"),
        ("large.txt", f"q1 0 a {2**62}\n", "relevance is out of range"),
        ("larger.txt", f"q1 0 a {10**30}\n", "relevance is out of range"),
        ("low.txt", f"q1 0 a {-MAX_RELEVANCE - 1}\n", "relevance is out of range"),
        ("text.jsonl", "q1 0 a 1", "line 1 is not JSON"),
        ("list.jsonl", '\n["q1", "a", 1]', "line 2 is not a JSON object (found list)"),
        ("nan.jsonl", '{"query_id":"q","doc_id":"a","relevance":NaN}', "line 1 is not JSON"),
        ("key.jsonl", '{"query_id":"q","doc_id":"a"}', "missing columns ['relevance'] in line 1"),
        ("null.jsonl", '{"query_id":"q","doc_id":"a","relevance":null}', "null relevance"),
        ("true.jsonl", '{"query_id":"q","doc_id":"a","relevance":true}', "not a whole number"),
        ("ids.jsonl", '{"query_id":1.5,"doc_id":"a","relevance":1}', "query_id in line 1 is nei"),
        ("id.jsonl", '{"query_id":null,"doc_id":"a","relevance":1}', "null query_id"),
        ("twice.txt", "q1 0 a 1\nq1 0 a 2\n", "judges document 'a' of query 'q1' twice"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_in_one_line(
    name: str, content: str | bytes, said: str, tmp_path: Path
) -> None:
    assert said in refusal(file(tmp_path, name, content))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"relevance": [0.5, 1.0]}, "relevance is not a whole number (found 0.5 in row 1"),
        ({"relevance": [1.0, float("nan")]}, "relevance is not a whole number (found nan in row 2"),
        ({"relevance": [1.0, float("inf")]}, "not a whole number"),
        ({"relevance": pa.array([1, None])}, "null relevance (found None in row 2"),
        ({"relevance": pa.nulls(2)}, "null relevance"),
        ({"relevance": [True, False]}, "column relevance has a wrong type (found Boolean"),
        ({"relevance": [[1], [2]]}, "column relevance has a wrong type"),
        ({"relevance": [{"grade": 1}, {"grade": 2}]}, "column relevance has a wrong type"),
        ({"relevance": pa.array([1, 2], pa.date32())}, "column relevance has a wrong type"),
        ({"relevance": [Decimal("1.50"), Decimal("1.00")]}, "not a whole number (found 1.50"),
        ({"relevance": pa.array([2**63, 1], pa.uint64())}, "relevance is out of range"),
        ({"query_id": [1.0, 2.0]}, "column query_id has a wrong type (found Float64"),
        ({"doc_id": [True, False]}, "column doc_id has a wrong type"),
        ({"doc_id": ["a", None]}, "null doc_id (found row 2)"),
        ({"doc_id": pa.nulls(2)}, "null doc_id (found row 1)"),
        ({"doc_id": [b"a", b"\xff"]}, "doc_id is not UTF-8"),
    ],
)
def test_what_is_wrong_with_a_column_is_told_in_one_line(
    columns: dict[str, Any], said: str, tmp_path: Path
) -> None:
    assert said in refusal(parquet(tmp_path, **columns))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "no such file or folder" in refusal(str(tmp_path / "none.txt"))


def test_a_folder_without_parquet_files_is_told_with_what_it_holds(tmp_path: Path) -> None:
    file(tmp_path, "test.tsv", TSV)

    assert "found 'test.tsv'" in refusal(str(tmp_path))


def test_no_control_character_of_a_file_reaches_a_message(tmp_path: Path) -> None:
    message = refusal(file(tmp_path, "qrels.csv", "query_id,doc_id,relevance\nq,\x1b[31m,\x1b[1m"))

    assert "\x1b" not in message


TOKEN = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=' \t\r\n\v\f",'), min_size=1
).filter(lambda token: not token.startswith("\ufeff"))


@settings(deadline=None)
@given(st.dictionaries(st.tuples(TOKEN, TOKEN), st.integers(-5, 5), min_size=1, max_size=20))
def test_judgements_written_as_text_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, judged: dict[tuple[str, str], int]
) -> None:
    folder = tmp_path_factory.mktemp("qrels")
    rows = [(query_id, doc_id, relevance) for (query_id, doc_id), relevance in judged.items()]
    trec = "".join(f"{query_id} 0 {doc_id} {relevance}\n" for query_id, doc_id, relevance in rows)
    tsv = "query_id\tdoc_id\trelevance\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows)

    for name, content in (("a.txt", trec), ("a.tsv", tsv)):
        assert read_judgements(file(folder, name, content)).rows() == sorted(rows)
