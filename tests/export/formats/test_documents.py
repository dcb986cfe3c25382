"""JSON lines, nested Parquet and bodies for `_bulk`: a document a query, with its ranked list."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.made_outputs import write_candidates, write_output
from support.real_runs import rerank_here

QUERIES = {"q2": ["a", "b", "c"], "q1": ["b"], "q3": ["x", "y"]}
ORDERS = {"q2": ["b", "c", "a"], "q1": ["b"], "q3": ["x", "y"]}

Export = Callable[..., bytes]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    candidates = write_candidates(QUERIES, tmp_path / "in.parquet")
    return write_output(candidates, tmp_path / "out", {"q2": [0.1, 0.3, 0.2]})


def export(output: Path, dest: Path, *options: object) -> Path:
    ended = rerank_here("export", output, dest, *options)
    assert ended.code == 0, ended.err
    return dest


def lines(content: bytes) -> list[dict[str, Any]]:
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.split(b"\n")[:-1]]


def orders(documents: list[dict[str, Any]]) -> dict[str, list[str]]:
    return {d["query_id"]: [result["doc_id"] for result in d["results"]] for d in documents}


def test_json_lines_hold_an_object_a_query(made: Path, tmp_path: Path) -> None:
    documents = lines(export(made, tmp_path / "r.jsonl").read_bytes())

    assert orders(documents) == ORDERS
    assert documents[0]["results"][0] == {
        "doc_id": "b",
        "rank": 1,
        "relevance_score": 0.3,
        "first_stage_rank": 2,
    }


def test_nested_parquet_holds_a_row_a_query(made: Path, tmp_path: Path) -> None:
    table = pq.read_table(export(made, tmp_path / "r.parquet"))

    assert orders(table.to_pylist()) == ORDERS
    inner = table.schema.field("results").type.value_type
    assert [field.name for field in inner] == [
        *("doc_id", "rank", "relevance_score", "first_stage_rank")
    ]
    assert inner.field("rank").type == pa.int32()


def test_a_bulk_body_indexes_a_document_a_query(made: Path, tmp_path: Path) -> None:
    file = export(made, tmp_path / "b.ndjson", "--format", "es-bulk", "--index", "ranked")

    found = lines(file.read_bytes())

    assert found[::2] == [{"index": {"_index": "ranked", "_id": name}} for name in QUERIES]
    assert orders(found[1::2]) == ORDERS


def test_per_document_updates_each_candidate_under_an_id_of_query_and_document(
    made: Path, tmp_path: Path
) -> None:
    options = ("--format", "es-bulk", "--index", "ranked", "--per-document")

    found = lines(export(made, tmp_path / "b.ndjson", *options).read_bytes())

    assert found[0] == {"update": {"_index": "ranked", "_id": "q2:b"}}
    assert found[1]["doc_as_upsert"] is True
    assert found[1]["doc"]["rank"] == 1
    assert [head["update"]["_id"] for head in found[::2]] == [
        f"{query}:{doc_id}" for query, documents in ORDERS.items() for doc_id in documents
    ]


def test_different_keys_have_different_ids(tmp_path: Path) -> None:
    queries = {"a:b": ["c"], "a": ["b:c"], "a%3Ab": ["c"]}
    output = write_output(write_candidates(queries, tmp_path / "in.parquet"), tmp_path / "out")

    file = export(
        *(output, tmp_path / "b.jsonl", "--format", "es-bulk", "--index", "i", "--per-document")
    )

    ids = [head["update"]["_id"] for head in lines(file.read_bytes())[::2]]
    assert ids == ["a%3Ab:c", "a:b:c", "a%253Ab:c"]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_the_suffix_compresses(suffix: str, made: Path, tmp_path: Path) -> None:
    plain = export(made, tmp_path / "r.jsonl").read_bytes()

    packed = export(made, tmp_path / f"r.jsonl{suffix}").read_bytes()

    if suffix == ".gz":
        assert gzip.decompress(packed) == plain
    else:
        stream = pa.input_stream(pa.py_buffer(packed), compression="zstd")
        assert stream.read() == plain


def test_every_type_has_a_form_in_json(tmp_path: Path) -> None:
    columns = {
        "big": pa.array([2**63 - 1, None]),
        "day": pa.array([date(2026, 11, 1), None]),
        "moment": pa.array([datetime(2026, 11, 1, 2, 3, 4, 5, UTC), None]),
        "price": pa.array([Decimal("1.50"), None]),
        "raw": pa.array([b"\x00\xff", None]),
        "odd": pa.array([float("nan"), float("inf")]),
        "tags": pa.array([["a", None], []], pa.list_(pa.string())),
        "seen": pa.array([[datetime(2026, 1, 1)], None]),
        "box": pa.array([{"raw": b"a", "n": 1}, None]),
        "quote": pa.array(['say "ä"\n\u2028\x00', ""]),
    }
    candidates = write_candidates({"q": ["a", "b"]}, tmp_path / "in.parquet", **columns)
    output = write_output(candidates, tmp_path / "out")

    (document,) = lines(export(output, tmp_path / "r.jsonl").read_bytes())

    first, second = document["results"]
    known = ("doc_id", "rank", "relevance_score", "first_stage_rank")
    assert {name: value for name, value in first.items() if name not in known} == {
        "big": 2**63 - 1,
        "day": "2026-11-01",
        "moment": "2026-11-01T02:03:04.000005+00:00",
        "price": "1.50",
        "raw": "AP8=",
        "odd": None,
        "tags": ["a", None],
        "seen": ["2026-01-01T00:00:00.000000"],
        "box": {"raw": "YQ==", "n": 1},
        "quote": 'say "ä"\n\u2028\x00',
    }
    assert second["box"] is None
    assert second["tags"] == []


def test_texts_of_the_output_are_written_if_asked_for(tmp_path: Path) -> None:
    candidates = write_candidates({"q": ["a"]}, tmp_path / "in.parquet")
    ended = rerank_here(
        "run", candidates, tmp_path / "out", "--provider", "emulator", "--with-text"
    )
    assert ended.code == 0, ended.err

    (without,) = lines(export(tmp_path / "out", tmp_path / "a.jsonl").read_bytes())
    (with_text,) = lines(export(tmp_path / "out", tmp_path / "b.jsonl", "--with-text").read_bytes())

    assert without["query"] == with_text["query"] == "query q"
    assert "text" not in without["results"][0]
    assert with_text["results"][0]["text"] == "text a"


def test_texts_that_the_output_lacks_come_from_the_input(made: Path, tmp_path: Path) -> None:
    named = export(
        made, tmp_path / "a.jsonl", "--with-text", "--input", tmp_path / "in.parquet"
    ).read_bytes()
    found = export(made, tmp_path / "b.jsonl", "--with-text").read_bytes()
    query_alone = export(made, tmp_path / "c.jsonl", "--input", tmp_path / "in.parquet")

    assert named == found
    for document in lines(named):
        assert document["query"] == f"query {document['query_id']}"
        for result in document["results"]:
            assert result["text"] == f"text {result['doc_id']}"
    assert orders(lines(named)) == ORDERS
    assert lines(query_alone.read_bytes())[0]["query"] == "query q2"
    assert "text" not in lines(query_alone.read_bytes())[0]["results"][0]


def test_texts_from_an_input_that_changed_are_refused(made: Path, tmp_path: Path) -> None:
    write_candidates({"q2": ["a"]}, tmp_path / "in.parquet")

    ended = rerank_here("export", made, tmp_path / "r.jsonl", "--with-text")

    assert ended.code == 3
    assert "--input" in ended.failure
    assert not (tmp_path / "r.jsonl").exists()


def test_texts_of_some_parts_are_read_for_a_partial_output(tmp_path: Path) -> None:
    candidates = write_candidates(QUERIES, tmp_path / "in.parquet")
    output = write_output(candidates, tmp_path / "out", groups_per_part=1, parts=2)

    file = export(output, tmp_path / "r.jsonl", "--with-text", "--partial")

    documents = lines(file.read_bytes())
    assert [d["query_id"] for d in documents] == ["q2", "q1"]
    assert documents[1]["results"][0]["text"] == "text b"


def test_an_id_too_long_for_a_search_engine_is_refused(tmp_path: Path) -> None:
    candidates = write_candidates({"q" * 513: ["a"]}, tmp_path / "in.parquet")
    output = write_output(candidates, tmp_path / "out")

    ended = rerank_here(
        "export", output, tmp_path / "b.jsonl", "--format", "es-bulk", "--index", "i"
    )

    assert ended.code == 3
    assert "512 bytes" in ended.failure


def test_a_query_of_more_than_a_row_group_is_one_document(tmp_path: Path) -> None:
    """A writer cuts row groups at a million rows, whatever the queries."""
    size = 1_100_000
    candidates = write_candidates({"q": ["a"]}, tmp_path / "in.parquet")
    output = write_output(candidates, tmp_path / "out")
    part = output / "part-00000.parquet"
    metadata = pq.read_metadata(part).metadata
    rows = pl.select(
        query_id=pl.lit("q").repeat_by(size).explode(),
        doc_id=pl.int_range(size).cast(pl.String),
        rank=pl.int_range(1, size + 1, dtype=pl.Int32),
        relevance_score=pl.int_range(size, 0, -1).cast(pl.Float64),
        first_stage_rank=pl.int_range(1, size + 1, dtype=pl.Int32),
    ).to_arrow(compat_level=pl.CompatLevel.oldest())
    with pq.ParquetWriter(part, rows.schema) as writer:
        writer.write_table(rows, row_group_size=500_000)
        writer.add_key_value_metadata({"rerank": metadata[b"rerank"].decode()})

    table = pq.read_table(export(output, tmp_path / "r.parquet"))

    assert table.num_rows == 1
    assert len(table["results"][0]) == size
