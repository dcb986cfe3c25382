"""The ranking is the same in whatever form the candidates come."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.real_runs import (
    ROOT,
    SAMPLE,
    Service,
    killed,
    ranked,
    rerank_here,
    results,
    rows_of,
    service,
    start,
    wait_until,
)

DATA = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the shared data is not here")


@pytest.fixture(scope="module")
def emulator() -> Iterator[Service]:
    with service() as running:
        yield running


def run(emulator: Service, given: Path, output: Path, *options: object) -> dict[str, Any]:
    """Run to exit 0; return the summary."""
    ended = rerank_here("run", given, output, *emulator.options, *options, "--json")
    assert ended.code == 0, ended.err
    return ended.facts


def nested(long: pl.DataFrame) -> pl.DataFrame:
    """Return a row per query, its candidates in a list of structs."""
    names = [name for name in long.columns if name not in ("query_id", "query")]
    return (
        long.group_by("query_id", maintain_order=True)
        .agg(pl.first("query"), pl.struct(names).alias("documents"))
        .select("query_id", "query", "documents")
    )


def order_of(output: Path) -> list[tuple[Any, ...]]:
    """Return what the rerank model's scores made of the candidates."""
    names = ("query_id", "doc_id", "rank", "relevance_score", "first_stage_rank")
    return [tuple(row[name] for name in names) for row in ranked(output)]


def test_nested_candidates_give_the_parts_of_long_ones(tmp_path: Path, emulator: Service) -> None:
    long = SAMPLE / "candidates.parquet"
    nested(pl.read_parquet(long)).write_parquet(tmp_path / "nested.parquet")

    run(emulator, long, tmp_path / "long")
    run(emulator, tmp_path / "nested.parquet", tmp_path / "nested", "--groups-per-part", "20")

    assert ranked(tmp_path / "nested") == ranked(tmp_path / "long")
    assert rows_of(tmp_path / "nested/_groups") == rows_of(tmp_path / "long/_groups")


@pytest.mark.parametrize("sizes", [[0, 5, 0, 0, 3, 0], [0, 0], [0] * 300 + [2, 700, 0]])
@pytest.mark.parametrize("per_part", [1, 2, 1000])
def test_queries_without_candidates_are_empty_groups(
    tmp_path: Path, emulator: Service, sizes: list[int], per_part: int
) -> None:
    if per_part < 3 and len(sizes) > 9:
        sizes = sizes[-9:]
    hit = pl.Struct({"doc_id": pl.String, "text": pl.String})
    rows = [
        {
            "query_id": at,
            "query": f"query {at}",
            "documents": [{"doc_id": f"{place}", "text": f"text {place}"} for place in range(size)]
            or (None if at % 2 else []),
        }
        for at, size in enumerate(sizes)
    ]
    schema = {"query_id": pl.Int64, "query": pl.String, "documents": pl.List(hit)}
    pl.DataFrame(rows, schema).write_parquet(tmp_path / "in.parquet")

    summary = run(
        emulator, tmp_path / "in.parquet", tmp_path / "out", "--groups-per-part", per_part
    )

    groups = rows_of(tmp_path / "out/_groups")
    assert [group["num_candidates"] for group in groups] == sizes
    assert [group["merge_status"] == "empty" for group in groups] == [size == 0 for size in sizes]
    assert len(ranked(tmp_path / "out")) == sum(sizes) == summary["candidates_done"]

    ids = pl.DataFrame(rows, schema).with_columns(
        pl.col("documents").list.eval(pl.struct(pl.element().struct.field("doc_id")))
    )
    ids.write_parquet(tmp_path / "ids.parquet")
    texts = {"doc_id": [f"{place}" for place in range(max(sizes))]}
    pl.DataFrame(texts, {"doc_id": pl.String}).with_columns(
        text=pl.format("text {}", "doc_id")
    ).write_parquet(tmp_path / "texts.parquet")
    options = ("--corpus", tmp_path / "texts.parquet", "--column", "documents=documents")
    for output, how in (("joined", options), ("sorted", ("--sort-input", *options))):
        made = tmp_path / output
        run(emulator, tmp_path / "ids.parquet", made, "--groups-per-part", per_part, *how)
        assert rows_of(made / "_groups") == groups
        assert ranked(made) == ranked(tmp_path / "out")

    before = results(tmp_path / "out")
    (tmp_path / "out/part-00000.parquet").unlink()
    (tmp_path / "out/_SUCCESS").unlink()
    again = run(emulator, tmp_path / "in.parquet", tmp_path / "out", "--groups-per-part", per_part)
    assert (again["requests"], results(tmp_path / "out")) == (0, before)


def write_forms(long: pl.DataFrame, corpus: pl.DataFrame, folder: Path) -> dict[str, list[object]]:
    """Write candidates in four forms; return the arguments of a run on each."""
    queries = long.select("query_id", "query").unique(maintain_order=True)
    ids = long.drop("query", "text")
    long.write_parquet(folder / "long.parquet")
    nested(long).write_parquet(folder / "nested.parquet")
    ids.write_parquet(folder / "ids.parquet")
    queries.write_parquet(folder / "queries.parquet")
    corpus.write_parquet(folder / "corpus.parquet")
    with gzip.open(folder / "ids.run.gz", "wt", encoding="utf-8") as run_file:
        for row in ids.iter_rows(named=True):
            place = f"{row['first_stage_rank']} {row['first_stage_score']!r}"
            run_file.write(f"{row['query_id']} Q0 {row['doc_id']} {place} bm25\n")
    beir = {"corpus": corpus.rename({"doc_id": "_id"}), "queries": queries}
    for name, frame in beir.items():
        frame.rename({"query_id": "_id", "query": "text"}, strict=False).write_ndjson(
            folder / f"{name}.jsonl"
        )
    return {
        "long": [folder / "long.parquet"],
        "nested": [folder / "nested.parquet"],
        "by reference": [
            *(folder / "ids.parquet", "--corpus", folder / "corpus.parquet"),
            *("--queries", folder / "queries.parquet"),
        ],
        "trec and beir": [
            *(folder / "ids.run.gz", "--corpus", folder / "corpus.jsonl"),
            *("--queries", folder / "queries.jsonl"),
        ],
    }


@needs_data
@pytest.mark.timeout(600)
def test_scifact_is_ranked_alike_in_all_forms(tmp_path: Path, emulator: Service) -> None:
    long = pl.read_parquet(DATA / "scifact/candidates.parquet")
    corpus = pl.read_parquet(DATA / "scifact/corpus.parquet")
    forms = write_forms(long, corpus, tmp_path)

    orders, sent = [], []
    for name, (given, *options) in forms.items():
        store = ("--score-store", tmp_path / "scores", "--with-text")
        sent.append(run(emulator, given, tmp_path / name, *options, *store)["requests"])
        orders.append(order_of(tmp_path / name))

    assert len(orders[0]) == 29_966
    assert orders == [orders[0]] * 4
    assert sent == [300, 0, 0, 0]


@needs_data
def test_every_script_comes_through_in_all_forms(tmp_path: Path, emulator: Service) -> None:
    corpus = pl.read_parquet(DATA / "xquad_r/corpus.parquet")
    long = pl.read_parquet(DATA / "xquad_r/candidates.parquet")
    first = long.filter(pl.col("query_id").str.contains("ar|zh")).with_row_index()
    kept = first.select("query_id").unique(maintain_order=True).gather_every(10).head(12)
    long = first.filter(pl.col("query_id").is_in(kept["query_id"].implode())).drop("index")
    odd = [
        "👩‍👩‍👧‍👦 family 🇨🇳",
        "e\u0301 \u200bzero\u200d",
        "\u202eright to left",
        'a\tb\nc\r\nd \\ "q" \'',
    ]
    added = [{"doc_id": f"odd{at}", "text": text} for at, text in enumerate(odd)]
    corpus = pl.concat([corpus.select("doc_id", "text"), pl.DataFrame(added)])
    more = [
        {
            **added[at],
            "query_id": "odd 😀 查询".replace(" ", ""),
            "query": "查询 😀 بحث",
            "first_stage_rank": at + 1,
            "first_stage_score": 1.0 / (at + 1),
        }
        for at in range(len(odd))
    ]
    long = pl.concat([long, pl.DataFrame(more, long.schema)])
    assert long["query_id"].n_unique() == 13
    forms = write_forms(long, corpus, tmp_path)

    for name, (given, *options) in forms.items():
        store = ("--score-store", tmp_path / "scores", "--with-text")
        run(emulator, given, tmp_path / name, *options, *store)

        rows = sorted(ranked(tmp_path / name), key=lambda r: (r["query_id"], r["first_stage_rank"]))
        columns = ("query_id", "query", "doc_id", "text")
        expected = long.sort("query_id", "first_stage_rank").select(columns)
        assert [tuple(row[column] for column in columns) for row in rows] == expected.rows(), name


def by_reference(folder: Path, *, num_queries: int = 40) -> list[object]:
    """Write candidates by id, and a corpus that lacks one of them; return a run's arguments."""
    ids = [
        (f"q{query}", f"d{(7 * query + place) % 90}")
        for query in range(num_queries)
        for place in range(9)
    ]
    pl.DataFrame(ids, ["query_id", "doc_id"], orient="row").write_parquet(folder / "ids.parquet")
    texts = [{"_id": f"d{at}", "text": f"word{at % 7} text {at}"} for at in range(1, 90)]
    pl.DataFrame(texts).write_ndjson(folder / "corpus.jsonl")
    queries = [{"_id": f"q{at}", "text": f"word{at % 7} query"} for at in range(num_queries - 1)]
    pl.DataFrame(queries).write_ndjson(folder / "queries.jsonl")
    return [
        *(folder / "ids.parquet", "--corpus", folder / "corpus.jsonl"),
        *("--queries", folder / "queries.jsonl"),
    ]


def test_missing_texts_end_the_run_or_are_skipped(tmp_path: Path, emulator: Service) -> None:
    given, *options = by_reference(tmp_path)

    refused = rerank_here("run", given, tmp_path / "out", *emulator.options, *options)
    assert refused.code == 3
    assert "1 of 40 values of query_id are not in --queries" in refused.failure
    summary = run(emulator, given, tmp_path / "skipped", *options, "--missing", "skip")

    rejects = rows_of(tmp_path / "skipped/_rejects")
    assert {reject["reason"] for reject in rejects} == {"missing_text"}
    lost = {(reject["query_id"], reject["doc_id"]) for reject in rejects}
    expected = pl.read_parquet(tmp_path / "ids.parquet").filter(
        (pl.col("doc_id") == "d0") | (pl.col("query_id") == "q39")
    )
    assert lost == {*expected.rows()}
    assert (summary["skipped"], summary["rejected"]) == (expected.height, 0)
    assert len(ranked(tmp_path / "skipped")) == 360


def test_what_was_made_ready_is_kept_until_the_output_is_done(
    tmp_path: Path, emulator: Service
) -> None:
    given, *options = by_reference(tmp_path)
    options += ["--missing", "skip"]
    with service("--fail-rate", "1") as failing:
        ended = rerank_here(
            *("run", given, tmp_path / "out", *failing.options, *options, "--max-outage", "0.01")
        )
    assert ended.code == 4 or ended.code == 8
    prepared = tmp_path / "out/_prepared/candidates.parquet"
    assert "input.prepared rows=360" in ended.err
    assert prepared.stat().st_size

    ended = rerank_here("run", given, tmp_path / "out", *emulator.options, *options)

    assert ended.code == 0, ended.err
    assert "input.prepared" not in ended.err
    assert not prepared.exists()
    assert [path.name for path in (tmp_path / "out/_prepared").iterdir()] == ["record.json"]
    again = run(emulator, given, tmp_path / "out", *options)
    assert (again["state"], again["requests"]) == ("done", 0)
    assert not prepared.exists()


def test_another_corpus_is_another_input(tmp_path: Path, emulator: Service) -> None:
    given, *options = by_reference(tmp_path)
    options += ["--missing", "skip"]
    run(emulator, given, tmp_path / "out", *options)
    before = results(tmp_path / "out")
    with (tmp_path / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "d0", "text": "found"}\n')

    refused = rerank_here("run", given, tmp_path / "out", *emulator.options, *options)

    assert refused.code == 5
    assert "--corpus/corpus.jsonl" in refused.failure
    assert results(tmp_path / "out") == before
    changed = rerank_here(
        "run", given, tmp_path / "out", *emulator.options, *options, "--text-template", "{_id}"
    )
    assert "text_template: none there, {_id} now" in changed.failure


@pytest.mark.parametrize("damage", ["none", "record", "file", "spool"])
def test_a_killed_preparation_begins_anew(tmp_path: Path, emulator: Service, damage: str) -> None:
    given, *options = by_reference(tmp_path)
    options += ["--missing", "skip"]
    run(emulator, given, tmp_path / "whole", *options)
    folder = tmp_path / "out/_prepared"
    folder.mkdir(parents=True)
    if damage != "none":
        (folder / "record.json").write_bytes(
            (tmp_path / "whole/_prepared/record.json").read_bytes()
        )
    if damage == "record":
        (folder / "record.json").write_text("{")
    if damage == "file":
        (folder / "candidates.parquet").write_bytes(b"PAR1")
    if damage == "spool":
        (folder / "spool-1234").mkdir()
        (folder / "spool-1234/rows.arrow").write_bytes(b"x")

    run(emulator, given, tmp_path / "out", *options)

    assert results(tmp_path / "out") == results(tmp_path / "whole")
    assert [path.name for path in folder.iterdir()] == ["record.json"]


def test_a_preparation_killed_at_any_moment_leaves_nothing_that_harms(
    tmp_path: Path, emulator: Service
) -> None:
    given, *options = by_reference(tmp_path, num_queries=3_000)
    options += ["--missing", "skip", "--limit", "50"]
    run(emulator, given, tmp_path / "whole", *options)
    folder = tmp_path / "out/_prepared"
    before = set[Path]()
    for _ in range(4):
        process = start("run", given, tmp_path / "out", *emulator.options, *options)
        wait_until(lambda known=before: folder.exists() and {*folder.iterdir()} - known)
        killed(process)
        before = {*folder.iterdir()}

    run(emulator, given, tmp_path / "out", *options)

    assert results(tmp_path / "out") == results(tmp_path / "whole")


def test_the_first_queries_alone_cost_little_and_the_rest_is_paid_later(
    tmp_path: Path, emulator: Service
) -> None:
    given, *options = by_reference(tmp_path)
    options += ["--missing", "skip", "--score-store", tmp_path / "scores"]

    tried = run(emulator, given, tmp_path / "try", *options, "--limit", "7")
    same = run(emulator, given, tmp_path / "try", *options, "--limit", "7")
    whole = run(emulator, given, tmp_path / "whole", *options)

    assert (tried["groups"], tried["requests"], same["requests"]) == (7, 7, 0)
    assert whole["requests_reused"] == 7
    whole_order = order_of(tmp_path / "whole")
    assert order_of(tmp_path / "try") == whole_order[: len(order_of(tmp_path / "try"))]
    other = rerank_here("run", given, tmp_path / "try", *emulator.options, *options, "--limit", "8")
    assert "limit: 7 there, 8 now" in other.failure


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_a_limit_ends_with_a_query_in_any_layout(
    tmp_path: Path, emulator: Service, limit: int
) -> None:
    long = pl.DataFrame(
        [(q, f"query {q}", f"d{d}", f"text {d}") for q in range(5) for d in range(q + 1)],
        ["query_id", "query", "doc_id", "text"],
        orient="row",
    )
    long.write_parquet(tmp_path / "long.parquet", row_group_size=2)
    nested(long).write_parquet(tmp_path / "nested.parquet", row_group_size=1)

    for name in ("long", "nested"):
        given = tmp_path / f"{name}.parquet"
        options = ("--limit", limit, "--groups-per-part", 2)
        summary = run(emulator, given, tmp_path / name, *options)

        assert {row["query_id"] for row in ranked(tmp_path / name)} == {*range(min(limit, 5))}
        assert (summary["groups"], summary["state"]) == (min(limit, 5), "done")
        assert run(emulator, given, tmp_path / name, *options)["requests"] == 0


@pytest.mark.parametrize("form", ["long", "by reference", "trec and beir"])
def test_what_was_before_is_read_from_the_input_where_that_is_possible(
    tmp_path: Path, emulator: Service, form: str
) -> None:
    long = pl.read_parquet(SAMPLE / "candidates.parquet").drop_nulls("text")
    corpus = long.select("doc_id", "text").unique("doc_id", maintain_order=True)
    long = long.drop("text").join(corpus, on="doc_id", maintain_order="left")
    given, *options = write_forms(long, corpus, tmp_path)[form]
    judged = ("--qrels", SAMPLE / "qrels.parquet", "--measure", "R@100", "--json")

    run(emulator, given, tmp_path / "cut", *options, "--top-n", 3, "--limit", 5)
    facts = rerank_here("evaluate", tmp_path / "cut", *judged).facts

    before = facts["measures"]["R@100"]["before"]
    if form == "trec and beir":
        assert (facts["before_from"], before) == (None, None)
        assert "rerank prepare" in " ".join(facts["notes"])
        made = tmp_path / "made.parquet"
        assert rerank_here("prepare", given, made, *options, "--limit", 5).code == 0
        facts = rerank_here("evaluate", tmp_path / "cut", *judged, "--input", made).facts
        before = facts["measures"]["R@100"]["before"]
    assert facts["before_from"] == "input"
    whole = run(emulator, given, tmp_path / "whole", *options, "--limit", 5)
    assert whole["groups"] == 5
    expected = rerank_here("evaluate", tmp_path / "whole", *judged).facts
    assert before == expected["measures"]["R@100"]["before"] > 0


def test_texts_are_exported_from_the_file_that_prepare_makes_again(
    tmp_path: Path, emulator: Service
) -> None:
    long = pl.read_parquet(SAMPLE / "candidates.parquet").drop_nulls("text")
    corpus = long.select("doc_id", "text").unique("doc_id", maintain_order=True)
    long = long.drop("text").join(corpus, on="doc_id", maintain_order="left")
    given, *options = write_forms(long, corpus, tmp_path)["trec and beir"]
    run(emulator, given, tmp_path / "out", *options, "--top-n", 3)
    export = ("export", tmp_path / "out", tmp_path / "out.jsonl", "--format", "jsonl")

    refused = rerank_here(*export, "--with-text")
    assert rerank_here("prepare", given, tmp_path / "made.parquet", *options).code == 0
    other = rerank_here(*export, "--with-text", "--input", tmp_path / "long.parquet")
    done = rerank_here(*export, "--with-text", "--input", tmp_path / "made.parquet")

    assert (refused.code, other.code, done.code) == (3, 3, 0)
    assert "rerank prepare" in refused.failure
    assert "rerank prepare" in other.failure
    texts = dict(corpus.iter_rows())
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    hits = [hit for line in lines for hit in json.loads(line)["results"]]
    assert len(hits) > 100
    assert all(hit["text"] == texts[hit["doc_id"]] for hit in hits)
