"""One query explained: what the output tells, and what follows from its input and score store."""

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.fake_reranker import FakeReranker, Reply, Step, served
from support.group_world import make_settings
from support.tables import candidates, write

from pipeline.core.errors import InputError
from pipeline.dataset.rerank import rerank_dataset
from pipeline.dataset.session import Session
from pipeline.explain.explain import explain_query
from pipeline.explain.explanation import Explanation


def by_number(body: dict[str, Any]) -> Reply:
    """Score a document by the number at its end, on a line of the request's own."""
    texts = body["input"]["documents"]
    slope, shift = 1 / (1 + len(texts) % 3), (sum(map(hash_of, texts)) % 7) / 10
    results = [
        {"index": index, "relevance_score": shift + slope * number_of(text) / 100}
        for index, text in enumerate(texts)
    ]
    return Reply(200, served(body) | {"output": {"results": results}})


def number_of(text: str) -> int:
    last = text.split()[-1]
    return int(last) if last.isdigit() else 0


def hash_of(text: str) -> int:
    return sum(text.encode())


async def rerank(
    given: Path, output: Path, *script: Step, otherwise: Step = 200, **how: Any
) -> Path:
    """Run once; return the output."""
    async with FakeReranker(*script, otherwise=otherwise) as fake:
        settings = make_settings(url=fake.url, **how)
        async with Session(settings, "key") as session:
            await rerank_dataset(session, str(given), str(output))
    return output


def explain(output: Path, query_id: str, **how: Any) -> Explanation:
    (one,) = explain_query(str(output), query_id, **how)
    return one


def ids(values: Sequence[Any], path: Path) -> Path:
    """Write a group of two candidates for each query id."""
    table = candidates([2] * len(values))
    return write(
        table.set_column(0, "query_id", pa.array([value for value in values for _ in range(2)])),
        path,
    )


@pytest.fixture
async def split(tmp_path: Path) -> Path:
    """Return an output whose second query takes several requests that do not compare."""
    given = write(candidates([3, 60, 3]), tmp_path / "in.parquet")
    return await rerank(given, tmp_path / "out", otherwise=by_number, max_documents=25)


def test_a_split_query_is_explained_by_its_requests(split: Path) -> None:
    found = explain(split, "q1")

    assert [one.kind for one in found.requests].count("first round") == 3
    assert found.requests[-1].kind == "final"
    assert len(found.requests) == found.groups.num_requests
    assert sum(one.tokens or 0 for one in found.requests) == found.groups.total_tokens
    assert {one.home_request for one in found.candidates} == {1, 2, 3}
    anchors = [one for one in found.candidates if one.is_anchor]
    assert all(len([s for s in one.scores if s.number <= 3]) == 3 for one in anchors)
    others = [one for one in found.candidates if not one.is_anchor]
    assert all(one.scores[0].number == one.home_request for one in others)
    assert found.comparison is not None
    assert not found.comparison.comparable
    assert found.link is not None
    assert found.notes == ()


def test_how_sure_a_place_is_follows_from_the_certificate(split: Path) -> None:
    found = explain(split, "q1")
    depth = found.groups.certified_depth

    assert 0 < depth < 60
    assert [one.sure for one in found.candidates] == ["proved"] * depth + ["linked"] * (60 - depth)
    assert [one.rank for one in found.candidates] == list(range(1, 61))


def test_the_scores_of_the_final_request_are_those_of_the_proved_places(split: Path) -> None:
    found = explain(split, "q1")
    final = found.requests[-1].number

    proved = found.candidates[: found.groups.certified_depth]
    scores = [score.score for one in proved for score in one.scores if score.number == final]

    assert len(scores) == len(proved)
    assert scores == sorted(scores, reverse=True)


def test_a_query_of_one_request_has_the_service_s_own_scores(split: Path) -> None:
    found = explain(split, "q0")

    assert [one.kind for one in found.requests] == ["first round"]
    assert [one.scores[0].score for one in found.candidates] == [
        one.relevance_score for one in found.candidates
    ]
    assert found.query == "query 0"


def test_without_the_input_the_table_is_still_there(split: Path, tmp_path: Path) -> None:
    whole = explain(split, "q1")
    (tmp_path / "in.parquet").unlink()

    found = explain(split, "q1")

    places = [(one.doc_id, one.rank, one.sure) for one in found.candidates]
    assert places == [(one.doc_id, one.rank, one.sure) for one in whole.candidates]
    assert {one.home_request for one in found.candidates} == {None}
    assert "home requests and anchors are not known" in found.notes[0]


def test_an_input_that_was_named_must_be_the_right_one(split: Path, tmp_path: Path) -> None:
    other = write(candidates([3]), tmp_path / "other.parquet")

    with pytest.raises(InputError, match="not the input that the output was made from"):
        explain(split, "q1", input_name=str(other))


def test_without_the_score_store_home_requests_are_known_and_scores_are_not(split: Path) -> None:
    shutil.rmtree(split / "_scores")

    found = explain(split, "q1")

    assert {one.home_request for one in found.candidates} == {1, 2, 3}
    assert found.requests == ()
    assert "own scores are not known: no score store" in found.notes[0]


def test_a_score_store_elsewhere_can_be_named(split: Path, tmp_path: Path) -> None:
    whole = explain(split, "q1")
    shutil.move(split / "_scores", tmp_path / "scores")

    assert explain(split, "q1", score_store=str(tmp_path / "scores")) == whole


def test_answers_of_another_run_are_not_taken_for_those_of_this_one(split: Path) -> None:
    part = split / "part-00000.parquet"
    with pq.ParquetFile(part) as file:
        metadata, table = file.metadata.metadata, file.read()
    doc_ids = table["doc_id"].to_pylist()
    doc_ids[3:5] = doc_ids[4:2:-1]
    swapped = table.set_column(1, "doc_id", pa.array(doc_ids))
    with pq.ParquetWriter(part, swapped.schema) as writer:
        writer.write_table(swapped)
        writer.add_key_value_metadata({"rerank": metadata[b"rerank"].decode()})

    found = explain(split, "q1")

    assert "lead to another ranking" in found.notes[0]


async def test_a_refused_document_is_named_with_its_reason_and_the_others_are_ranked(
    tmp_path: Path,
) -> None:
    def refuse(body: dict[str, Any]) -> Step:
        texts = body["input"]["documents"]
        if "text 0 3" in texts:
            return Reply(400, {"code": "DataInspectionFailed", "message": "inappropriate content"})
        return Reply(200, served(body))

    given = write(candidates([9]), tmp_path / "in.parquet")
    output = await rerank(given, tmp_path / "out", otherwise=refuse, max_rejects=1)

    found = explain(output, "q0")

    last = found.candidates[-1]
    assert (last.doc_id, last.sure, last.reason) == ("d0-3", "none", "refused_document")
    assert last.code == "DataInspectionFailed"
    assert last.message
    assert all(one.scores for one in found.candidates[:-1])
    assert found.notes == ()


async def test_candidates_that_were_cut_are_counted_and_rejects_among_them_shown(
    tmp_path: Path,
) -> None:
    table = candidates([9], text=["a", None, *(f"text 0 {n}" for n in range(7))])
    given = write(table, tmp_path / "in.parquet")
    output = await rerank(given, tmp_path / "out", top_n=4)

    found = explain(output, "q0")

    assert found.cut == 5
    assert [one.rank for one in found.candidates] == [1, 2, 3, 4, None]
    assert found.candidates[-1].reason == "no_text"


async def test_a_long_text_is_marked_as_truncated(tmp_path: Path) -> None:
    table = candidates([3], text=["word " * 300, "short", "also short"])
    given = write(table, tmp_path / "in.parquet")
    output = await rerank(given, tmp_path / "out", max_tokens_per_document=100)

    found = explain(output, "q0")

    assert [one.doc_id for one in found.candidates if one.is_truncated] == ["d0-0"]
    assert found.groups.num_truncated == 1


async def test_a_group_that_was_packed_anew_is_explained_too(tmp_path: Path) -> None:
    def small(body: dict[str, Any]) -> Step:
        if len(body["input"]["documents"]) > 20:
            return Reply(413, {"code": "RequestTooLarge", "message": "too large"})
        return by_number(body)

    given = write(candidates([60]), tmp_path / "in.parquet")
    output = await rerank(given, tmp_path / "out", otherwise=small, max_documents=40)

    found = explain(output, "q0")

    assert found.notes == ()
    assert max(one.documents for one in found.requests) <= 20
    assert len(found.requests) == found.groups.num_requests


def comparable(body: dict[str, Any]) -> Reply:
    """Score a document by the number at its end, whatever else is in the request."""
    texts = body["input"]["documents"]
    results = [
        {"index": index, "relevance_score": 0.01 + number_of(text) / 1_000 + hash_of(text) / 1e7}
        for index, text in enumerate(texts)
    ]
    return Reply(200, served(body) | {"output": {"results": results}})


async def two_nights(folder: Path, otherwise: Step = comparable, **how: Any) -> Path:
    """Rerank a query on two nights; on the second three of its 60 documents are new."""
    how |= {"reuse": "partial", "score_store": str(folder / "scores")}
    texts = [f"text 0 {number}" for number in range(60)]
    given = write(candidates([60], text=texts), folder / "1.parquet")
    await rerank(given, folder / "out1", otherwise=otherwise, **how)
    for number in (2, 31, 50):
        texts[number] = f"a new text {number}"
    given = write(candidates([60], text=texts), folder / "2.parquet")
    return await rerank(given, folder / "out2", otherwise=otherwise, **how)


async def test_an_earlier_answer_of_partial_reuse_is_shown_as_a_request(tmp_path: Path) -> None:
    output = await two_nights(tmp_path)

    found = explain(output, "q0", score_store=str(tmp_path / "scores"))

    assert [one.kind for one in found.requests] == ["reused", "first round"]
    assert [one.documents for one in found.requests] == [57, 11]  # the new ones and 8 anchors
    assert sum(one.tokens or 0 for one in found.requests) == found.groups.total_tokens
    assert found.groups.merge_status == "comparable"
    new = {"d0-2", "d0-31", "d0-50"}
    assert {one.doc_id for one in found.candidates if one.home_request == 2} == new
    assert sum(bool(one.is_anchor) for one in found.candidates) == 8
    assert all(one.scores[0].score == one.relevance_score for one in found.candidates)
    assert all(one.scores[0].number == one.home_request for one in found.candidates)
    assert found.notes == ()


async def test_an_earlier_answer_that_was_linked_is_followed_by_the_final_request(
    tmp_path: Path,
) -> None:
    output = await two_nights(tmp_path, by_number, certify_depth=5)

    found = explain(output, "q0", score_store=str(tmp_path / "scores"))

    assert [one.kind for one in found.requests] == ["reused", "first round", "final"]
    assert len(found.requests) == found.groups.num_requests
    assert found.link is not None
    assert found.notes == ()


async def test_an_earlier_answer_that_was_given_up_is_not_shown(tmp_path: Path) -> None:
    output = await two_nights(tmp_path, by_number, certify_depth=50)

    found = explain(output, "q0", score_store=str(tmp_path / "scores"))

    assert found.groups.merge_status == "single_request"
    assert [one.kind for one in found.requests] == ["first round"]
    assert {one.home_request for one in found.candidates} == {1}
    assert found.notes == ()


async def test_without_the_score_store_it_is_not_known_what_was_reused(tmp_path: Path) -> None:
    output = await two_nights(tmp_path)

    found = explain(output, "q0")

    assert {one.home_request for one in found.candidates} == {None}
    assert "no score store" in found.notes[0]
    assert found.notes[1] == "home requests and anchors follow from them, with --reuse partial"


@pytest.mark.parametrize(
    "values",
    [
        ["007", "7", "70"],
        [7, 70, -3],
        [str(uuid.UUID(int=number << 64)) for number in range(3)],
        ["a b", "<b>", "שלום\u202e"],
    ],
    ids=["zeros", "integers", "uuids", "odd"],
)
async def test_ids_of_every_type_are_found_by_their_text(values: list[Any], tmp_path: Path) -> None:
    output = await rerank(ids(values, tmp_path / "in.parquet"), tmp_path / "out")

    for value in values:
        assert explain(output, str(value)).query_id == value


@pytest.mark.parametrize(
    ("values", "asked", "near"),
    [
        (["007", "8"], "7", "007"),
        ([7, 12], "007", "7"),
        (["Query-1", "other"], "query 1", "Query-1"),
        (["river-bank", "tent"], "river-bnak", "river-bank"),
    ],
)
async def test_an_id_that_is_not_there_is_an_error_that_names_those_like_it(
    values: list[Any], asked: str, near: str, tmp_path: Path
) -> None:
    output = await rerank(ids(values, tmp_path / "in.parquet"), tmp_path / "out")

    with pytest.raises(InputError, match=f"holds no query '{asked}'; did you mean '{near}'"):
        explain(output, asked)


async def test_nested_rows_are_explained_as_long_ones(tmp_path: Path) -> None:
    documents = [
        [{"doc_id": f"d{query}-{n}", "text": f"text {query} {n}"} for n in range(4 * query)]
        for query in range(3)
    ]
    table = {"query_id": [10, 11, 12], "query": ["a", "b", "c"], "documents": documents}
    given = write(pa.table(table), tmp_path / "in.parquet")
    output = await rerank(given, tmp_path / "out", otherwise=by_number)

    found, empty = explain(output, "12"), explain(output, "10")

    assert [one.doc_id for one in found.candidates] == [f"d2-{n}" for n in range(7, -1, -1)]
    assert found.notes == ()
    assert (empty.candidates, empty.groups.merge_status) == ((), "empty")


async def test_a_query_of_a_backfill_is_explained_for_each_day(tmp_path: Path) -> None:
    root = tmp_path / "out"
    for day in ("dt=2026-11-01", "dt=2026-11-02", "dt=2026-11-03"):
        sizes = [2] if day.endswith("1") else [2, 3]
        given = write(candidates(sizes), tmp_path / "in" / day / "a.parquet")
        await rerank(given, root / day, score_store=str(root / "_scores"))

    found = explain_query(str(root), "q1")

    assert [one.partition for one in found] == ["dt=2026-11-02", "dt=2026-11-03"]
    assert all(one.requests for one in found)
    with pytest.raises(InputError, match="holds no query 'q2'"):
        explain_query(str(root), "q2")


def test_what_is_no_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such output"):
        explain_query(str(tmp_path / "none"), "q0")


def test_nothing_is_written_and_nothing_sent(split: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in split.rglob("*")}

    explain(split, "q1")

    assert {file: file.stat().st_mtime_ns for file in split.rglob("*")} == before
