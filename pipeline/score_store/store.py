"""The score store: every answer that was paid for, found by the content of its request.

`save` hands an answer over, `look_up` finds answers of this and earlier runs. The store is a folder
of segments; several runs may share it, each writes its own. A run sees what was there when it
opened the store and what it saves itself.
"""

import asyncio
import logging
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import numpy as np
import xxhash

from pipeline.core.content import Content, identity
from pipeline.core.records import Request, Scores
from pipeline.score_store import compaction
from pipeline.score_store.group_commit import GroupCommit
from pipeline.score_store.key_index import KeyIndex, Place
from pipeline.score_store.last_used import note_uses
from pipeline.score_store.query_index import QueryAnswers
from pipeline.score_store.rows import Answer, PrefixArray, prefixes
from pipeline.score_store.segment_index import BatchFacts
from pipeline.score_store.segments import iter_segments, read_batches
from pipeline.storage.location import Location

_log = logging.getLogger(__name__)


class ScoreStore:
    """Paid answers in a folder; use as `async with ScoreStore(folder) as store`.

    A folder that does not exist is an empty store, and is created by the first answer.

    Args:
        folder: Where the store lies, on this machine or an object store.
        scope: What a score depends on besides query and documents (`RunSettings.score_scope()`);
            it keeps the queries of different models apart for partial reuse.
        begun_us: When the output was begun, in microseconds since 1970: `earlier_answers` are those
            saved before, and what is saved here is never dated before, whatever the clock says.
        clock: Seconds since 1970.
        linger_s: How long the first answer of a batch waits for others; 20 ms, remotely 1 s.
    """

    def __init__(
        self,
        folder: Location,
        *,
        scope: bytes = b"",
        begun_us: int = 0,
        clock: Callable[[], float] = time.time,
        linger_s: float | None = None,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._linger_s = linger_s
        self._scope = xxhash.xxh3_64_intdigest(scope)
        self._begun_us = begun_us
        self._used = array("Q")
        self._damaged: set[str] = set()

    async def __aenter__(self) -> Self:
        """Read where the stored answers lie.

        Raises:
            OutputFailed: if the store is there and cannot be read.
        """
        self._index = await asyncio.to_thread(self._read_index)
        self._writer = GroupCommit(
            self._folder, clock=self._clock, linger_s=self._linger_s, written=self._add
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what is left and note which answers were of use.

        Raises:
            OutputFailed: if an answer could not be written.
        """
        await self._writer.close()
        if self._used:
            used = np.array(self._used, np.uint64)
            await asyncio.to_thread(note_uses, self._folder, used, self._clock())

    async def save(self, request: Request, scores: Scores) -> None:
        """Hand an answer over to be written; waits only while too much waits to be written.

        It is on disk 50 ms later, on an object store 2 s later; `flush` waits for that.

        Raises:
            OutputFailed: if this or an earlier answer could not be written.
        """
        if len(scores.scores) != len(request.document_keys):
            raise ValueError("an answer has one score per document")
        query_key = self.query_key(request.query)
        saved_at_us = max(int(self._clock() * 1e6), self._begun_us)
        answer = Answer(request.key, query_key, request.document_keys, scores, saved_at_us)
        await self._writer.put(answer)

    async def look_up(self, keys: Sequence[bytes]) -> dict[bytes, Scores]:
        """The stored answers among `keys`; ask for many at once, as many as a few groups have.

        Raises:
            OutputFailed: if the store cannot be read.
        """
        found = {}
        for key in keys:
            scores = self._writer.get(key)
            if scores is not None:
                found[key] = scores
        stored = [key for key in dict.fromkeys(keys) if key not in found]
        wanted = prefixes(b"".join(stored))
        places = self._index.find(wanted)
        if places:
            read, damaged = await self._read_again(places, stored, wanted)
            found |= read
            for segment in damaged:
                self._warn_of(segment)
        if found:
            self._used.frombytes(prefixes(b"".join(found)).tobytes())
        return found

    def query_key(self, query: Content) -> int:
        """What names a query, as it is sent, among all that is asked of this and other models."""
        return xxhash.xxh3_64_intdigest(identity(query), self._scope)

    def earlier_answers(self) -> QueryAnswers:
        """Answers that were there when the output was begun, found by their query."""
        return QueryAnswers(self._folder, before_us=self._begun_us)

    async def flush(self) -> None:
        """Write all that was handed over; when it returns, a killed process loses none of it.

        Raises:
            OutputFailed: if this or an earlier answer could not be written.
        """
        await self._writer.flush()

    async def compact(self) -> int:
        """Fold small finished segments into full ones; the number of segments removed.

        For the end of a run. A crash at any step loses nothing, and cancelling ends it soon.

        Raises:
            OutputFailed: if the store cannot be read or written; nothing is lost.
        """
        await self._writer.seal()
        stop = threading.Event()
        try:
            removed = await asyncio.to_thread(
                compaction.compact, self._folder, self._clock, stop.is_set
            )
        except asyncio.CancelledError:
            stop.set()  # else the process would wait for the thread
            raise
        if removed:
            await self._refresh()
        return removed

    async def _read_again(
        self, places: dict[Place, list[int]], keys: Sequence[bytes], wanted: PrefixArray
    ) -> tuple[dict[bytes, Scores], set[str]]:
        """Read; when another run has compacted meanwhile, find the new segments and read again."""
        while True:
            try:
                return await asyncio.to_thread(self._read, places, keys, wanted)
            except FileNotFoundError:
                await self._refresh()
                places = self._index.find(wanted)

    def _add(self, place: Place, facts: BatchFacts) -> None:
        self._index.add(place, prefixes(facts.keys))

    async def _refresh(self) -> None:
        async with self._writer.turn:
            self._index = await asyncio.to_thread(self._read_index)

    def _read_index(self) -> KeyIndex:
        index = KeyIndex()
        for segment in iter_segments(self._folder):
            if segment.damaged:
                self._warn_of(segment.name)
            for facts in segment.batches:
                index.add(segment.place(facts), prefixes(facts.keys))
        return index

    def _warn_of(self, segment: str) -> None:
        if segment not in self._damaged:
            self._damaged.add(segment)
            name = self._folder.child(segment).name
            _log.warning("score_store.damaged segment=%s what_is_lost=is_asked_for_again", name)

    def _read(
        self, places: dict[Place, list[int]], keys: Sequence[bytes], wanted: PrefixArray
    ) -> tuple[dict[bytes, Scores], set[str]]:
        """The answers that are there, and the segments of which something cannot be read."""
        by_segment: dict[str, list[Place]] = {}
        for place in sorted(places):
            by_segment.setdefault(place.segment, []).append(place)
        found: dict[bytes, Scores] = {}
        damaged = set[str]()
        for name, batches in by_segment.items():
            ranges = [(place.offset, place.size) for place in batches]
            read = read_batches(self._folder.child(name), ranges)
            for place, rows in zip(batches, read, strict=True):
                positions = places[place]
                if rows is not None:
                    found |= rows.find(wanted[positions])
                # A key may be missing because another one begins alike; then all rows are sound.
                if not all(keys[position] in found for position in positions) and (
                    rows is None or not rows.verified().all()
                ):
                    damaged.add(name)
        return {key: found[key] for key in keys if key in found}, damaged
