"""Earlier answers by their query: what is seen, and that it never changes under a run."""

import asyncio
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hostile_files import hostile

from pipeline.core.content import digest
from pipeline.core.records import Request, Scores
from pipeline.score_store import compaction
from pipeline.score_store.query_index import QueryIndex
from pipeline.score_store.rows import StoredAnswer
from pipeline.score_store.store import ScoreStore
from pipeline.storage.files import FileInfo
from pipeline.storage.location import locate

NOW_US = 1_000 * 24 * 3_600 * 1_000_000


def scope(query: str, model: str = "") -> bytes:
    return digest(f"{model} {query}".encode())


def document_keys(asked: Request) -> bytes:
    return b"".join(digest(document.encode()) for document in asked.documents)


def request(number: int, query: str = "a query", model: str = "") -> Request:
    return Request(
        query=query,
        documents=[f"document {number} {place}" for place in range(3)],
        tokens=0,
        key=number.to_bytes(8, "big") + b"therestofthekey.",
        scope=scope(query, model),
        query_id=number,
    )


def store(folder: Path, at_us: int = NOW_US, *, keeps_documents: bool = True) -> ScoreStore:
    return ScoreStore(
        locate(str(folder)),
        keeps_documents=keeps_documents,
        clock=lambda: at_us / 1e6,
        linger_s=0.0,
    )


async def save(folder: Path, *requests: Request, at_us: int = NOW_US, score: float = 0.5) -> None:
    async with store(folder, at_us) as opened:
        for one in requests:
            await opened.save(one, Scores(np.array([score, 0.25, 0.125]), 30, "name"))
            await opened.flush()


def earlier(folder: Path, before_us: int = NOW_US + 1) -> QueryIndex:
    return QueryIndex(locate(str(folder)), before_us=before_us)


def find(answers: QueryIndex, query: str = "a query") -> list[StoredAnswer]:
    found = answers.find([scope(query), scope("asked by nobody")])
    assert found.pop(scope("asked by nobody")) == []
    return found.pop(scope(query))


def numbers(answers: list[StoredAnswer]) -> list[int]:
    return [int.from_bytes(answer.key[:8], "big") for answer in answers]


async def test_answers_to_a_query_are_found_by_ascending_key(tmp_path: Path) -> None:
    await save(tmp_path, request(3), request(1), request(9, "another query"))
    await save(tmp_path, request(2))

    found = find(earlier(tmp_path))

    assert numbers(found) == [1, 2, 3]
    assert found[0].document_keys == document_keys(request(1))
    assert found[0].scores.scores.tolist() == [0.5, 0.25, 0.125]
    assert (found[0].scores.total_tokens, found[0].scores.response_id) == (30, "name")


async def test_a_store_that_is_not_there_has_no_answers(tmp_path: Path) -> None:
    assert find(earlier(tmp_path / "none")) == []


async def test_the_queries_of_other_models_are_others(tmp_path: Path) -> None:
    await save(tmp_path, request(1))

    assert earlier(tmp_path).find([scope("a query", "other")]) == {scope("a query", "other"): []}


async def test_what_is_saved_since_the_output_was_begun_is_not_seen(tmp_path: Path) -> None:
    await save(tmp_path, request(1), at_us=NOW_US - 1)
    async with store(tmp_path, NOW_US - 5_000_000) as opened:
        answers = await opened.earlier_answers(NOW_US)
        await opened.save(request(2), Scores(np.zeros(3)))
        await opened.flush()
        assert numbers(find(answers)) == [1]

    async with store(tmp_path) as opened:
        assert numbers(find(await opened.earlier_answers(NOW_US))) == [1]
    assert numbers(find(earlier(tmp_path))) == [1, 2]


async def test_compaction_does_not_move_the_moment_that_an_output_was_begun(tmp_path: Path) -> None:
    """One answer is dated at that moment by the clock, another since its clock is behind."""
    await save(tmp_path, request(1), at_us=NOW_US - 1)
    await save(tmp_path, request(2), at_us=NOW_US)
    async with store(tmp_path, NOW_US - 5_000_000) as opened:
        await opened.earlier_answers(NOW_US)
        await opened.save(request(3), Scores(np.zeros(3)))
    assert numbers(find(earlier(tmp_path, NOW_US))) == [1]

    compaction.compact(locate(str(tmp_path)), lambda: NOW_US / 1e6)

    assert numbers(find(earlier(tmp_path, NOW_US))) == [1]
    assert numbers(find(earlier(tmp_path, NOW_US + 1))) == [1, 2, 3]


async def test_outputs_begun_one_after_the_other_each_see_what_was_saved_before(
    tmp_path: Path,
) -> None:
    async with store(tmp_path, NOW_US - 1) as opened:
        await opened.save(request(1), Scores(np.zeros(3)))
        first = await opened.earlier_answers(NOW_US)
        await opened.save(request(2), Scores(np.zeros(3)))
        second = await opened.earlier_answers(NOW_US + 1)
        await opened.save(request(3), Scores(np.zeros(3)))
        await opened.flush()

        assert numbers(find(first)) == [1]
        assert numbers(find(second)) == [1, 2]


async def test_of_two_answers_to_one_request_the_first_counts(tmp_path: Path) -> None:
    await save(tmp_path, request(1), at_us=NOW_US, score=0.9)
    await save(tmp_path, request(1), at_us=NOW_US - 5, score=0.8)

    (found,) = find(earlier(tmp_path))

    assert found.scores.scores[0] == 0.8


async def test_the_index_is_built_once_for_all_look_ups(tmp_path: Path) -> None:
    await save(tmp_path, request(1))
    listings = []

    def listed(found: list[FileInfo]) -> list[FileInfo]:
        listings.append(found)
        return found

    answers = QueryIndex(hostile(tmp_path, listed), before_us=NOW_US + 1)
    assert listings == []

    for _ in range(2):
        assert numbers(find(answers)) == [1]

    assert len(listings) == 1


async def test_compaction_by_another_run_is_followed(tmp_path: Path) -> None:
    for number in range(4):
        await save(tmp_path, request(number))
    answers = earlier(tmp_path)
    before = numbers(find(answers))

    removed = compaction.compact(locate(str(tmp_path)), lambda: NOW_US / 1e6)

    assert removed == 4
    assert numbers(find(answers)) == before == [0, 1, 2, 3]


@given(place=st.integers(0), bit=st.integers(0, 7))
@settings(deadline=None, max_examples=150)
def test_a_damaged_answer_is_never_taken_for_another(place: int, bit: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(save(folder, request(1), request(2)))
        (file,) = folder.glob("segment-*")
        content = bytearray(file.read_bytes())
        content[place % len(content)] ^= 1 << bit
        file.write_bytes(content)

        found = find(earlier(folder, 2**62))

    assert set(numbers(found)) <= {1, 2}
    for answer, number in zip(found, numbers(found), strict=True):
        assert answer.document_keys == document_keys(request(number))
        assert answer.scores.scores.tolist() == [0.5, 0.25, 0.125]
