"""The score store: every answer that was paid for, found by the content of its request.

`save` hands an answer over, `look_up` finds answers of this and earlier runs. The store is a folder
of segments; several runs may share it, and each writes its own segments. A run sees what was stored
when it opened the store, and what it saves itself.
"""

import asyncio
import logging
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import numpy as np
import xxhash

from pipeline.core.arrays import KeyArray
from pipeline.core.content import Content, identity
from pipeline.core.events import log_event
from pipeline.core.records import Request, Scores
from pipeline.score_store import compaction
from pipeline.score_store.group_commit import GroupCommit
from pipeline.score_store.key_index import KeyIndex, Place
from pipeline.score_store.last_used import record_use
from pipeline.score_store.limits import StoreLimits
from pipeline.score_store.query_index import QueryIndex
from pipeline.score_store.rows import Saved, StoredAnswer, prefixes
from pipeline.score_store.segment_index import BatchFacts
from pipeline.score_store.segments import (
    MAX_LISTINGS,
    iter_segments,
    listed_in_vain,
    read_batches,
    read_listed,
)
from pipeline.storage.location import Location

_log = logging.getLogger(__name__)


class ScoreStore:
    """Paid answers in a folder; use as `async with ScoreStore(folder) as store`.

    A folder that does not exist is an empty store, and is created by the first answer.

    Args:
        folder: The store, on this machine or an object store.
        scope: What a score depends on besides query and documents (`RunSettings.score_scope()`);
            it keeps the queries of different models apart for partial reuse.
        clock: Seconds since 1970.
        linger_s: How long the first answer of a batch waits for others; by default 20 ms, on an
            object store 1 s.
        limits: When batches and segments are written, closed and folded.
    """

    def __init__(
        self,
        folder: Location,
        *,
        scope: bytes = b"",
        clock: Callable[[], float] = time.time,
        linger_s: float | None = None,
        limits: StoreLimits | None = None,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._linger_s = linger_s
        self._scope = xxhash.xxh3_64_intdigest(scope)
        self._earliest_us = 0
        self._limits = limits or StoreLimits()
        self._used = array("Q")
        self._damaged: set[str] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Read where the stored answers are.

        Raises:
            OutputFailed: if the store exists and cannot be read.
        """
        self._index = await asyncio.to_thread(self._read_index)
        self._writer = await self._stack.enter_async_context(
            GroupCommit(
                self._folder,
                clock=self._clock,
                linger_s=self._linger_s,
                limits=self._limits,
                on_written=self._add,
            )
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what is left and record which answers were used.

        Raises:
            OutputFailed: if an answer could not be written.
        """
        await self._stack.__aexit__(kind, error, trace)
        if self._used:
            used = np.array(self._used, np.uint64)
            await asyncio.to_thread(record_use, self._folder, used, self._clock())

    async def save(self, request: Request, scores: Scores) -> None:
        """Hand an answer over to be written; wait only while too many answers wait to be written.

        It is on disk 50 ms later, on an object store 2 s later; `flush` waits for that.

        Raises:
            OutputFailed: if this or an earlier answer could not be written.
        """
        if len(scores.scores) != len(request.document_keys):
            raise ValueError("an answer has one score per document")
        query_key = self.query_key(request.query)
        saved_at_us = max(int(self._clock() * 1e6), self._earliest_us)
        answer = StoredAnswer(request.key, query_key, request.document_keys, scores, saved_at_us)
        await self._writer.put(answer)

    async def look_up(self, keys: Sequence[bytes]) -> dict[bytes, Scores]:
        """Return the stored answers among `keys`; ask for those of several groups at once.

        Of an answer that is stored twice, the first one saved counts.

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
        if self._index.find(wanted):
            read, damaged = await self._read_stored(stored, wanted)
            found |= read
            for segment in damaged:
                self._warn_of_damage(segment)
        if found:
            self._used.frombytes(prefixes(b"".join(found)).tobytes())
        return found

    def query_key(self, query: Content) -> int:
        """Return what identifies a query, as it is sent, among those of this and other models."""
        return xxhash.xxh3_64_intdigest(identity(query), self._scope)

    async def earlier_answers(self, begun_us: int) -> QueryIndex:
        """Return the answers that were stored before an output was begun, by their query.

        What is saved from now on is never dated before that moment, whatever the clock says, so the
        same answers are found again when a killed run is repeated.

        Args:
            begun_us: When the output was begun, in microseconds since 1970.

        Raises:
            OutputFailed: if this or an earlier answer could not be written.
        """
        self._earliest_us = max(self._earliest_us, begun_us)
        await self.flush()
        return QueryIndex(self._folder, before_us=begun_us)

    async def flush(self) -> None:
        """Write all answers handed over; when it returns, a killed process loses none of them.

        Raises:
            OutputFailed: if this or an earlier answer could not be written.
        """
        await self._writer.flush()

    async def compact(self) -> int:
        """Fold small finished segments into full ones; return the number of segments replaced.

        Call it at the end of a run. A crash at any step loses nothing; cancelling ends it soon.

        Raises:
            OutputFailed: if the store cannot be read or written; nothing is lost.
        """
        await self._writer.seal()
        stop = threading.Event()
        try:
            return await asyncio.to_thread(
                compaction.compact, self._folder, self._clock, stop.is_set, self._limits
            )
        except asyncio.CancelledError:
            stop.set()  # else the process would wait for the thread
            raise

    async def _read_stored(
        self, keys: Sequence[bytes], wanted: KeyArray
    ) -> tuple[dict[bytes, Scores], set[str]]:
        """Read what the index finds; list the segments again if one of them is gone."""
        for _ in range(MAX_LISTINGS):
            places = self._index.find(wanted)
            try:
                return await asyncio.to_thread(self._read, places, keys, wanted)
            except FileNotFoundError as error:
                gone = error
                async with self._writer.lock:
                    self._index = await asyncio.to_thread(self._read_index)
        raise listed_in_vain(self._folder) from gone

    def _add(self, place: Place, facts: BatchFacts) -> None:
        self._index.add(place, prefixes(facts.keys))

    def _read_index(self) -> KeyIndex:
        return read_listed(self._folder, self._index_segments)

    def _index_segments(self) -> KeyIndex:
        index = KeyIndex()
        for segment in iter_segments(self._folder):
            if segment.damaged:
                self._warn_of_damage(segment.name)
            for facts in segment.batches:
                index.add(segment.place(facts), prefixes(facts.keys))
        return index

    def _warn_of_damage(self, segment: str) -> None:
        """Warn once of a segment; what cannot be read in it is requested again."""
        if segment not in self._damaged:
            self._damaged.add(segment)
            name = self._folder.child(segment).name
            log_event(_log, logging.WARNING, "score_store.damaged", segment=name)

    def _read(
        self, places: dict[Place, list[int]], keys: Sequence[bytes], wanted: KeyArray
    ) -> tuple[dict[bytes, Scores], set[str]]:
        """Return the answers that are found, and the segments that cannot be read in part."""
        by_segment: dict[str, list[Place]] = {}
        for place in sorted(places):
            by_segment.setdefault(place.segment, []).append(place)
        found: dict[bytes, tuple[Saved, Scores]] = {}
        damaged = set[str]()
        for name, batches in by_segment.items():
            ranges = [(place.offset, place.size) for place in batches]
            read = read_batches(self._folder.child(name), ranges)
            for place, rows in zip(batches, read, strict=True):
                positions = places[place]
                for key, saved, scores in rows.find(wanted[positions]) if rows is not None else ():
                    if key not in found or saved < found[key][0]:
                        found[key] = saved, scores
                # A key may be missing because another one begins alike; then all rows verify.
                if not all(keys[position] in found for position in positions) and (
                    rows is None or not rows.verified().all()
                ):
                    damaged.add(name)
        return {key: found[key][1] for key in keys if key in found}, damaged
