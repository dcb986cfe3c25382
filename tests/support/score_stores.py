"""Requests, answers and stores, for tests of the score store."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.core.content import digest
from pipeline.core.records import Request, Scores
from pipeline.score_store.key_index import Place
from pipeline.score_store.limits import StoreLimits
from pipeline.score_store.rows import StoredAnswer, encode
from pipeline.score_store.segment_index import BatchFacts
from pipeline.score_store.segments import Message, SegmentBuilder, new_name
from pipeline.score_store.store import ScoreStore
from pipeline.storage.location import Location, locate

NOW = float(int(time.time()))

DAY = 24 * 3600.0


def scope(query: str) -> bytes:
    """Return what names a query and all else that scores depend on but documents."""
    return digest(b"model " + query.encode())


def request(number: int, documents: int = 3) -> Request:
    return Request(
        query=f"query {number}",
        documents=[""] * documents,
        tokens=0,
        key=number.to_bytes(8, "little") + b"therestofthekey.",
        scope=scope(f"query {number}"),
        query_id=number,
    )


def answer(number: int, documents: int = 3) -> Scores:
    return Scores(np.linspace(0.0, 1.0, documents) + number, 10 * number, f"response-{number}")


def same(one: Scores, other: Scores) -> bool:
    """Compare bit for bit, so that NaN equals itself and 0.0 differs from -0.0."""
    bits = one.scores.tobytes() == other.scores.tobytes()
    return bits and (one.total_tokens, one.response_id) == (other.total_tokens, other.response_id)


def right(found: dict[bytes, Scores], numbers: Sequence[int]) -> bool:
    return found.keys() == {request(n).key for n in numbers} and all(
        same(found[request(n).key], answer(n)) for n in numbers
    )


def keys(numbers: Sequence[int]) -> list[bytes]:
    return [request(number).key for number in numbers]


def store(
    folder: Path | Location | str, now: float = NOW, limits: StoreLimits | None = None
) -> ScoreStore:
    location = folder if isinstance(folder, Location) else locate(str(folder))
    return ScoreStore(location, clock=lambda: now, linger_s=0.0, limits=limits)


async def save(
    folder: Path | Location,
    numbers: Sequence[int],
    now: float = NOW,
    limits: StoreLimits | None = None,
) -> None:
    """Open the store, save these answers in a batch each, and close it."""
    async with store(folder, now, limits) as opened:
        for number in numbers:
            await opened.save(request(number), answer(number))
            await opened.flush()


async def look_up(folder: Path | Location, numbers: Sequence[int]) -> dict[bytes, Scores]:
    async with store(folder) as opened:
        return await opened.look_up(keys(numbers))


async def compact(folder: Path, now: float = NOW) -> int:
    """Open the store and compact it, as a run does at its end."""
    async with store(folder, now) as opened:
        return await opened.compact()


def unclosed_segment(numbers: Sequence[int]) -> tuple[bytes, list[int]]:
    """Return a segment as a killed run leaves it, and where its batches end."""
    builder = SegmentBuilder()
    content, ends = builder.start(), []
    for number in numbers:
        asked = request(number)
        stored = StoredAnswer(asked.key, asked.scope, b"", answer(number), int(NOW * 1e6))
        message = Message.of(encode([stored]))
        builder.add(message)
        content += message.content
        ends.append(len(content))
    return content, ends


def stored(number: int, saved_at_us: int) -> StoredAnswer:
    """Return an answer as it is stored; its scores tell when it was saved."""
    asked, scores = request(number), answer(1_000 * number + saved_at_us)
    return StoredAnswer(asked.key, asked.scope, b"", scores, saved_at_us)


def put_segment(
    folder: Location, *batches: Sequence[tuple[int, int]], at: float = NOW
) -> list[tuple[Place, BatchFacts]]:
    """Publish a closed segment, and return where its batches are and what they hold.

    Args:
        folder: The store.
        batches: The answers of each batch: their number, and when they were saved.
        at: When the segment was begun.
    """
    return put_batches(folder, *(encode([stored(*row) for row in rows]) for rows in batches), at=at)


def put_batches(
    folder: Location, *batches: pa.RecordBatch, at: float = NOW
) -> list[tuple[Place, BatchFacts]]:
    """Publish a closed segment of these record batches; see `put_segment`."""
    builder, name = SegmentBuilder(), new_name(at)
    content, written = builder.start(), []
    for batch in batches:
        message = Message.of(batch)
        facts = builder.add(message)
        written.append((Place(name, facts.offset, facts.size), facts))
        content += message.content
    folder.child(name).publish(content + builder.end())
    return written
