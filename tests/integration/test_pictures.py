"""Candidates and queries that are images or videos, from the input to the output."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.pictures import candidates, png, table
from support.real_runs import Ended, Service, environment, rerank, rerank_here, results, service
from support.tables import write

import pipeline

WORDS = ("blue lamp", "red tent", "green stove", "old boot")
MODEL = ("--model", "qwen3-vl-rerank")
SIGNATURE = "Signature=qhX7secretOfTheUrl"


@pytest.fixture(scope="module")
def asked() -> Iterator[Service]:
    with service() as running:
        yield running


def run(asked: Service, given: Path, output: Path, *more: object) -> Ended:
    return rerank_here("run", given, output, *asked.options, *MODEL, "--no-progress", *more)


def ranked(output: Path, query_id: str = "q") -> list[str]:
    parts = pl.read_parquet(output / "part-*.parquet").filter(pl.col("query_id") == query_id)
    return parts.sort("rank")["doc_id"].to_list()


def url(words: str, suffix: str = "png") -> str:
    return f"https://pictures.example/{words.replace(' ', '-')}.{suffix}?{SIGNATURE}"


KINDS: dict[str, Any] = {
    "text": lambda words: {"text": f"a {words}"},
    "image": lambda words: {"image": url(words)},
    "image_bytes": lambda words: {"image_bytes": png(f"a {words}")},
    "video": lambda words: {"video": url(words, "mp4")},
}


@pytest.mark.parametrize("kind", KINDS)
def test_documents_of_every_kind_are_ranked(kind: str, asked: Service, tmp_path: Path) -> None:
    given = candidates([KINDS[kind](words) for words in WORDS], tmp_path / "in.parquet")

    ended = run(asked, given, tmp_path / "out")

    assert ended.code == 0, ended.err
    assert ranked(tmp_path / "out")[0] == "d1"


def test_kinds_are_ranked_together(asked: Service, tmp_path: Path) -> None:
    made = [KINDS[kind](words) for words in WORDS for kind in KINDS]
    given = candidates(made, tmp_path / "in.parquet")

    ended = run(asked, given, tmp_path / "out")

    assert ended.code == 0, ended.err
    assert {*ranked(tmp_path / "out")[:4]} == {"d4", "d5", "d6", "d7"}


@pytest.mark.parametrize(
    "query",
    [{"query_image": url("red tent")}, {"query_image_bytes": png("red tent")}],
    ids=["url", "bytes"],
)
def test_a_query_may_be_an_image(query: Any, asked: Service, tmp_path: Path) -> None:
    made = [{"text": f"a {words}"} for words in WORDS]
    given = candidates(made, tmp_path / "in.parquet", **query)

    ended = run(asked, given, tmp_path / "out")

    assert ended.code == 0, ended.err
    assert ranked(tmp_path / "out")[0] == "d1"


def test_a_request_holds_at_most_forty_images_and_four_videos(
    asked: Service, tmp_path: Path
) -> None:
    images = [{"image_bytes": png(f"tent {n}", shade=n)} for n in range(100)]
    videos = [{"video": url(f"tent {n}", "mp4")} for n in range(9)]
    given = candidates(images, tmp_path / "images.parquet")
    others = candidates(videos, tmp_path / "videos.parquet")

    first = run(asked, given, tmp_path / "a", "--merge", "trust", "--json")
    second = run(asked, others, tmp_path / "b", "--merge", "trust", "--json")

    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert first.facts["requests_sent"] == first.facts["requests"] == 3
    assert second.facts["requests_sent"] == second.facts["requests"] == 3


def test_equal_pictures_are_sent_once(asked: Service, tmp_path: Path) -> None:
    one, other = {"image_bytes": png("red tent")}, {"image_bytes": png("boot")}
    given = candidates([one] * 30 + [other] * 30, tmp_path / "in.parquet")
    before = asked.stats()["documents"]

    ended = run(asked, given, tmp_path / "out")

    assert ended.code == 0, ended.err
    assert asked.stats()["documents"] - before == 2
    assert ranked(tmp_path / "out")[:30] == [f"d{n}" for n in range(30)]


def test_a_data_url_is_the_picture_that_it_holds(asked: Service, tmp_path: Path) -> None:
    from pipeline.core.content import image_of_bytes, value_or_url

    data = png("red tent")
    made = [{"image_bytes": data}, {"image": value_or_url(image_of_bytes(data))}]
    before = asked.stats()["documents"]

    ended = run(asked, candidates(made, tmp_path / "in.parquet"), tmp_path / "out")

    assert ended.code == 0, ended.err
    assert asked.stats()["documents"] - before == 1


def test_a_paid_answer_is_found_by_the_bytes_of_its_pictures(
    asked: Service, tmp_path: Path
) -> None:
    made = [KINDS[kind](words) for words in WORDS for kind in ("text", "image", "image_bytes")]
    given = candidates(made, tmp_path / "in.parquet")
    made[2] = {"image_bytes": png("another picture")}
    changed = candidates(made, tmp_path / "changed.parquet")
    store = ("--score-store", tmp_path / "store")
    run(asked, given, tmp_path / "a", *store)
    before = asked.requests()

    again, other = (
        run(asked, given, tmp_path / "b", *store),
        run(asked, changed, tmp_path / "c", *store),
    )

    assert (again.code, other.code) == (0, 0)
    assert asked.requests() - before == 1, "the changed picture alone"
    assert results(tmp_path / "a") == results(tmp_path / "b")


def test_frames_per_second_are_part_of_what_an_answer_is_found_by(
    asked: Service, tmp_path: Path
) -> None:
    made = [{"video": url(words, "mp4")} for words in WORDS]
    given = candidates(made, tmp_path / "in.parquet")
    store = ("--score-store", tmp_path / "store")
    run(asked, given, tmp_path / "a", *store)
    before = asked.requests()

    ended = run(asked, given, tmp_path / "b", *store, "--fps", 0.5)
    same = run(asked, given, tmp_path / "b", *store)

    assert (ended.code, same.code) == (0, 5), ended.err
    assert asked.requests() - before == 1


def test_a_refused_picture_is_rejected_alone(asked: Service, tmp_path: Path) -> None:
    bad = {"image": "https://gone.invalid/tent.png?" + SIGNATURE}
    damaged = {"image_bytes": png("lamp")[:20] + b"x" * (11 * 2**20)}
    made = [bad, damaged, *({"image_bytes": png(words)} for words in WORDS)]
    given = candidates(made, tmp_path / "in.parquet")

    ended = run(asked, given, tmp_path / "out", "--max-rejects", 2)

    assert ended.code == 0, ended.err
    rejects = pl.read_parquet(tmp_path / "out" / "_rejects" / "*.parquet")
    assert rejects["doc_id"].to_list() == ["d0", "d1"]
    assert rejects["reason"].to_list() == ["refused_document"] * 2
    assert ranked(tmp_path / "out")[:1] == ["d3"]


def test_a_picture_that_fits_no_request_is_rejected_without_being_sent(
    asked: Service, tmp_path: Path
) -> None:
    huge = {"image_bytes": png("lamp")[:20] + b"x" * (13 * 2**20)}
    given = candidates([huge, {"image_bytes": png("red tent")}], tmp_path / "in.parquet")

    ended = run(asked, given, tmp_path / "out", "--max-rejects", 1)

    assert ended.code == 0, ended.err
    rejects = pl.read_parquet(tmp_path / "out" / "_rejects" / "*.parquet")
    assert rejects.select("doc_id", "reason").rows() == [("d0", "query_too_long")]


def test_bodies_stay_below_the_gateways_limit(asked: Service, tmp_path: Path) -> None:
    large = [{"image_bytes": png(f"tent {n}") + bytes([n]) * (2 * 2**20)} for n in range(12)]
    given = candidates(large, tmp_path / "in.parquet")

    ended = run(asked, given, tmp_path / "out", "--merge", "trust", "--json")

    assert ended.code == 0, ended.err
    assert ended.facts["requests_failed"] == 0
    assert ended.facts["requests"] >= 3


def test_nothing_private_is_written_anywhere(tmp_path: Path) -> None:
    made = [KINDS[kind](words) for words in WORDS for kind in ("image", "image_bytes", "video")]
    made.append({"image": "https://gone.invalid/x.png?" + SIGNATURE})
    given = candidates(made, tmp_path / "in.parquet", query_image=url("red tent"))
    with service() as asked:
        ended = run(asked, given, tmp_path / "out", "--max-rejects", 1, "--log-format", "json")

    assert ended.code == 0, ended.err
    files = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    written = b"".join(file.read_bytes() for file in files) + (ended.out + ended.err).encode()
    for secret in (SIGNATURE, "pictures.example", "base64", "iVBORw0KGgo"):
        assert secret.encode() not in written


def test_with_text_the_output_holds_what_was_scored(asked: Service, tmp_path: Path) -> None:
    made = [KINDS[kind](words) for words in WORDS for kind in KINDS]
    given = candidates(made, tmp_path / "in.parquet", query_image=url("red tent"))

    ended = run(asked, given, tmp_path / "out", "--with-text")
    plain = run(asked, given, tmp_path / "plain")

    assert (ended.code, plain.code) == (0, 0), ended.err
    found = {row["doc_id"]: row for row in pq.read_table(tmp_path / "out").to_pylist()}
    for place, document in enumerate(made):
        row = found[f"d{place}"]
        assert row["query_image"] == url("red tent")
        assert {name: row[name] for name in KINDS if row[name] is not None} == document
    names = pq.read_table(next((tmp_path / "plain").glob("part-*"))).column_names
    assert not {*names} & {*KINDS, "query", "query_image"}


def test_the_nested_layout_holds_pictures(asked: Service, tmp_path: Path) -> None:
    made = [KINDS[kind](words) for words in WORDS for kind in KINDS]
    long = table(made, query_image_bytes=png("red tent"))
    documents = long.select(["doc_id", *KINDS]).to_pylist()
    kind = pa.list_(pa.struct([("doc_id", pa.string()), *((n, long[n].type) for n in KINDS)]))
    nested = pa.table(
        {
            "query_id": ["q"],
            "query_image_bytes": pa.array([png("red tent")], pa.binary()),
            "documents": pa.array([documents], kind),
        }
    )

    for name, given in (("long", long), ("nested", nested)):
        ended = run(asked, write(given, tmp_path / f"{name}.parquet"), tmp_path / name)
        assert ended.code == 0, ended.err
    read = [pq.read_table(tmp_path / name / "part-00000.parquet") for name in ("long", "nested")]
    assert read[0].equals(read[1])


def test_lists_side_by_side_hold_pictures(asked: Service, tmp_path: Path) -> None:
    given = pa.table(
        {
            "query_id": ["q"],
            "query": ["red tent"],
            "doc_id": [["d0", "d1"]],
            "image": [[url("blue lamp"), url("red tent")]],
        }
    )

    ended = run(asked, write(given, tmp_path / "in.parquet"), tmp_path / "out")

    assert ended.code == 0, ended.err
    assert ranked(tmp_path / "out") == ["d1", "d0"]


def test_a_plan_counts_what_a_run_sends_and_prices_images(asked: Service, tmp_path: Path) -> None:
    sizes = [(640, 480), (64, 64), (8, 8), (4_000, 3_000)]
    made = [{"image_bytes": png(f"tent {n}", size=s)} for n, s in enumerate(sizes)]
    given = candidates(made, tmp_path / "in.parquet")

    planned = rerank_here("plan", given, "--provider", "emulator", *MODEL, "--json").facts
    ran = run(asked, given, tmp_path / "out", "--json").facts

    assert planned["tokens"] == ran["total_tokens"]
    assert planned["image_tokens"] == 20 * 15 + 4 + 4 + 1_800
    expected = (planned["tokens"] - planned["image_tokens"]) * 1e-7
    expected += planned["image_tokens"] * 2.58e-7
    assert planned["cost_usd"] == pytest.approx(expected, rel=1e-3)
    assert ran["cost_usd"] == pytest.approx(expected, rel=0.01)


def test_a_table_in_memory_may_hold_pictures(tmp_path: Path) -> None:
    made = [KINDS[kind](words) for words in WORDS for kind in KINDS]
    frame = pl.DataFrame(table(made, query_image=url("red tent")))

    found = pipeline.rerank_table(
        frame,
        provider="emulator",
        model="qwen3-vl-rerank",
        score_store=str(tmp_path / "store"),
    )

    assert isinstance(found, pl.DataFrame)
    assert {*found["doc_id"].head(4)} == {"d4", "d5", "d6", "d7"}
    assert found["image_bytes"].dtype == pl.Binary


def test_a_killed_run_pays_for_no_picture_twice(tmp_path: Path) -> None:
    groups = [
        table([{"image_bytes": png(f"tent {g} {n}", shade=n)} for n in range(5)], query_id=f"q{g}")
        for g in range(40)
    ]
    given = write(pa.concat_tables(groups), tmp_path / "in.parquet")
    with service() as asked:
        whole = run(asked, given, tmp_path / "whole")
        sent = asked.requests()
    with service("--fault", "arrearage@20") as asked:
        stopped = run(asked, given, tmp_path / "out", "--max-in-flight", 2)
        paid = asked.answers()
        again = run(asked, given, tmp_path / "out")
        total = asked.answers()

    assert (whole.code, stopped.code, again.code) == (0, 4, 0), stopped.err
    assert 0 < paid < sent
    assert total == sent
    assert results(tmp_path / "whole") == results(tmp_path / "out")


def test_logs_show_no_picture(asked: Service, tmp_path: Path) -> None:
    given = candidates([KINDS["image_bytes"](w) for w in WORDS], tmp_path / "in.parquet")

    ended = rerank(
        *("run", given, tmp_path / "out", *asked.options, *MODEL, "--log-format", "json"),
    )

    assert ended.code == 0, ended.err
    for line in ended.err.splitlines():
        assert len(json.dumps(json.loads(line))) < 2_000


BAD = {
    "a local path": ({"image": "/data/tent.png"}, "holds no web address"),
    "a format that is not accepted": ({"image_bytes": b"GIF89a......"}, "found GIF"),
    "both": ({"text": "a", "image": url("tent")}, "exactly one of text, image"),
    "neither": ({"text": None}, "exactly one of text, image"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_at_the_end_is_told_before_anything_is_paid(
    name: str, asked: Service, tmp_path: Path
) -> None:
    bad, found = BAD[name]
    groups = [table([{"text": f"tent {g}"}] * 3, query_id=f"q{g}") for g in range(5_000)]
    last = table([{"image": url("tent")}, {"image_bytes": png()}, bad], query_id="last")
    everything = pa.concat_tables([*groups, last], promote_options="permissive")
    given = write(everything, tmp_path / "in.parquet")
    before = asked.requests()

    ended = run(asked, given, tmp_path / "out")

    assert (ended.code, asked.requests()) == (3, before)
    assert found in ended.failure
    assert "row 15002, query_id 'last'" in ended.failure
    assert SIGNATURE not in ended.err


REFUSED = {
    "--fps of a model of texts": (("--fps", 1), "--fps: qwen3-rerank scores no videos"),
    "--fps over 1": ((*MODEL, "--fps", 2), "expected a number from 0 to 1"),
    "--column image of a model of texts": (
        ("--column", "image=picture"),
        "--column: the model scores texts alone",
    ),
    "--instruct of a model that ignores it": (
        ("--model", "gte-rerank-v2", "--instruct", "Find."),
        "--instruct: gte-rerank-v2 ignores an instruction",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_would_be_ignored_are_refused(
    name: str, asked: Service, tmp_path: Path
) -> None:
    options, found = REFUSED[name]
    given = candidates([{"text": "a"}], tmp_path / "in.parquet")
    before = asked.requests()

    ended = rerank_here("run", given, tmp_path / "out", *asked.options, "--no-progress", *options)

    assert (ended.code, asked.requests()) == (2, before)
    assert found in ended.failure


@pytest.mark.parametrize(
    ("provider", "option", "field"),
    [
        ("infinity", ("--instruct", "Find."), "no instruction"),
        ("vllm", ("--fps", "1"), "no frames per second"),
        ("dashscope-compatible", (*MODEL, "--fps", "1"), "no frames per second"),
    ],
)
def test_what_a_wire_format_would_ignore_is_refused(
    provider: str, option: tuple[str, ...], field: str, tmp_path: Path
) -> None:
    given = candidates([{"text": "a"}], tmp_path / "in.parquet")
    model = () if "--model" in option else ("--model", "some/model")
    options = ("--provider", provider, "--url", "http://127.0.0.1:9/x", *model, *option)

    ended = rerank(
        *("run", given, tmp_path / "out", *options, "--no-progress"),
        env=environment(DASHSCOPE_API_KEY="key"),
    )

    assert ended.code == 2
    assert field in ended.failure


def test_pictures_need_an_endpoint_that_takes_them(tmp_path: Path) -> None:
    given = candidates([{"image": url("tent")}], tmp_path / "in.parquet")
    options = ("--provider", "dashscope-compatible", "--url", "http://127.0.0.1:9/x")

    ended = rerank(
        *("run", given, tmp_path / "out", *options, *MODEL, "--no-progress"),
        env=environment(DASHSCOPE_API_KEY="key"),
    )

    assert ended.code == 2
    assert "the wire format dashscope-compatible takes texts alone" in ended.failure


def test_a_model_of_texts_is_told_of_pictures(asked: Service, tmp_path: Path) -> None:
    given = candidates([{"image": url("tent")}], tmp_path / "in.parquet")

    ended = rerank_here("run", given, tmp_path / "out", *asked.options, "--no-progress")

    assert ended.code == 3
    assert "choose a multimodal --model such as qwen3-vl-rerank" in ended.failure


def by_reference(folder: Path) -> dict[str, Path]:
    """Write candidates by id, a corpus of every kind, and a query that is an image."""
    made = [KINDS[kind](words) for words in WORDS for kind in KINDS]
    ids = [f"d{place}" for place in range(len(made))]
    corpus = table(made).drop_columns(["query_id", "query"])
    queries = pa.table({"query_id": ["q"], "query_image": [url("red tent")]})
    candidates_of = pa.table({"query_id": ["q"] * len(ids), "doc_id": ids})
    return {
        name: write(given, folder / f"{name}.parquet")
        for name, given in (("corpus", corpus), ("queries", queries), ("ids", candidates_of))
    }


def test_pictures_are_joined_by_reference(asked: Service, tmp_path: Path) -> None:
    made = [KINDS[kind](words) for words in WORDS for kind in KINDS]
    whole = candidates(made, tmp_path / "in.parquet", query_image=url("red tent"))
    files = by_reference(tmp_path)
    joins = ("--corpus", files["corpus"], "--queries", files["queries"])

    first = run(asked, whole, tmp_path / "whole", "--with-text")
    joined = run(asked, files["ids"], tmp_path / "joined", "--with-text", *joins)
    prepared = rerank_here("prepare", files["ids"], tmp_path / "long.parquet", *joins)
    third = run(asked, tmp_path / "long.parquet", tmp_path / "third", "--with-text")

    assert (first.code, joined.code, prepared.code, third.code) == (0, 0, 0, 0), joined.err
    whole_rows, *others = (
        pq.read_table(tmp_path / name / "part-00000.parquet").to_pylist()
        for name in ("whole", "joined", "third")
    )
    for rows in others:
        assert [{k: row[k] or None for k in whole_rows[0]} for row in rows] == whole_rows


def test_a_corpus_of_pictures_alone_needs_no_texts(asked: Service, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    lines = [{"_id": f"d{n}", "image": url(words)} for n, words in enumerate(WORDS)]
    corpus.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ids = tmp_path / "ids.csv"
    ids.write_text("query_id,query,doc_id\n" + "".join(f"q,red tent,d{n}\n" for n in range(4)))

    ended = run(asked, ids, tmp_path / "out", "--corpus", corpus)
    prepared = rerank_here("prepare", ids, tmp_path / "long.parquet", "--corpus", corpus)

    assert (ended.code, prepared.code) == (0, 0), ended.err + prepared.err
    assert ranked(tmp_path / "out")[0] == "d1"
    assert "image" in pq.read_schema(tmp_path / "long.parquet").names


def test_candidates_with_pictures_are_sorted(asked: Service, tmp_path: Path) -> None:
    made = [{"image_bytes": png(words)} for words in WORDS]
    both = pa.concat_tables([table(made, query_id=name) for name in ("q", "r")])
    mixed = both.take([0, 4, 1, 5, 2, 6, 3, 7])

    ended = run(asked, write(mixed, tmp_path / "in.parquet"), tmp_path / "out", "--sort-input")

    assert ended.code == 0, ended.err
    assert ranked(tmp_path / "out", "r")[0] == "d1"


def test_an_output_of_pictures_is_explained_evaluated_and_exported(
    asked: Service, tmp_path: Path
) -> None:
    made = [KINDS[kind](words) for words in WORDS for kind in KINDS]
    given = candidates(made, tmp_path / "in.parquet", query_image_bytes=png("red tent"))
    qrels = tmp_path / "qrels.tsv"
    qrels.write_text("query_id\tdoc_id\trelevance\nq\td5\t1\n")
    ran = run(asked, given, tmp_path / "out", "--top-n", 8)

    explained = rerank_here("explain", tmp_path / "out", "--query-id", "q", "--json")
    evaluated = rerank_here("evaluate", tmp_path / "out", "--qrels", qrels, "--json")
    exported = rerank_here("export", tmp_path / "out", tmp_path / "out.jsonl", "--with-text")

    assert (ran.code, explained.code) == (0, 0), ran.err + explained.err
    (found,) = explained.facts["explanations"]
    assert found["query"] is None
    assert found["notes"] == []
    assert len(found["requests"]) == found["groups"]["num_requests"]
    assert (evaluated.code, exported.code) == (0, 0), evaluated.err + exported.err
    assert evaluated.facts["before_from"] == "input"
    assert "base64" not in exported.out + explained.out
