"""The score store: every answer that was paid for, found by the content of its request.

`save` hands an answer over, `look_up` finds answers of this and earlier runs. The store is a folder
of segments; several runs may share it, and each writes its own segments. A run sees what was stored
when it opened the store, and what it saves itself.
"""

import asyncio
import logging
import threading
import time
import uuid
from array import array
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Self

import numpy as np

from pipeline.core.content import digest, identity
from pipeline.core.errors import OutputFailed, SettingsError
from pipeline.core.events import log_event
from pipeline.core.gate import Gate
from pipeline.core.records import Request, Scores
from pipeline.score_store import compaction
from pipeline.score_store.group_commit import GroupCommit
from pipeline.score_store.last_used import record_use
from pipeline.score_store.limits import StoreLimits
from pipeline.score_store.listing import MAX_LISTINGS, listed_in_vain
from pipeline.score_store.query_index import QueryIndex
from pipeline.score_store.rows import StoredAnswer, prefixes
from pipeline.score_store.stored_answers import StoredAnswers
from pipeline.storage.errors import is_lasting
from pipeline.storage.location import Location
from pipeline.storage.retries import Patience, insist

_log = logging.getLogger(__name__)


class ScoreStore:
    """Paid answers in a folder; use as `async with ScoreStore(folder) as store`.

    A folder that does not exist is an empty store, and is created.

    Args:
        folder: The store, on this machine or an object store.
        keeps_documents: Whether to keep the digest of each document, so that an answer can serve
            single documents later; that takes 24 bytes and half a microsecond a document.
        clock: Seconds since 1970.
        linger_s: How long the first answer of a batch waits for others; by default 20 ms, on an
            object store 1 s.
        limits: When batches and segments are written, closed and folded.
        patience: How long to retry if the store cannot be written or, on an object store, read.
    """

    def __init__(
        self,
        folder: Location,
        *,
        keeps_documents: bool = False,
        clock: Callable[[], float] = time.time,
        linger_s: float | None = None,
        limits: StoreLimits | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._linger_s = linger_s
        self._keeps_documents = keeps_documents
        self._earliest_us = 0
        self._limits = limits or StoreLimits()
        self._patience = patience or Patience()
        self._stored = StoredAnswers(folder)
        self._used = array("Q")
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Check that the store is writable, and read the places of the stored answers.

        Raises:
            SettingsError: if the store cannot be written until a person acts: permissions, buckets.
            OutputFailed: if it exists and cannot be read, or cannot be written for now.
        """
        await asyncio.to_thread(self._check_writable)
        await asyncio.to_thread(self._stored.refresh)
        self._writer = await self._stack.enter_async_context(
            GroupCommit(
                self._folder,
                clock=self._clock,
                linger_s=self._linger_s,
                limits=self._limits,
                patience=self._patience,
                on_written=self._stored.add,
            )
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the remaining answers and record which answers were used.

        Raises:
            OutputFailed: if an answer could not be written.
        """
        await self._stack.aclose()
        if self._used:
            used = np.array(self._used, np.uint64)
            try:
                await asyncio.to_thread(record_use, self._folder, used, self._clock())
            except OutputFailed as failure:  # they count as used when they were saved
                log_event(_log, logging.WARNING, "score_store.use_not_recorded", error=str(failure))

    @property
    def gate(self) -> Gate:
        """Open while answers can be saved; wait for it before paying for answers."""
        return self._writer.gate

    @property
    def num_unsaved(self) -> int:
        """Answers that are not written yet."""
        return self._writer.num_unsaved

    @property
    def is_local(self) -> bool:
        """Whether the store is on this machine, where answers are saved within 50 ms."""
        return self._folder.is_local

    async def save(self, request: Request, scores: Scores) -> None:
        """Hand an answer over to be written; wait only while too many answers wait to be written.

        It is on disk 50 ms later, on an object store 2 s later; `flush` waits for that. If it
        cannot be written it is kept and tried again, and once more when the store is closed.

        Raises:
            OutputFailed: if answers could not be written for too long.
        """
        if len(scores.scores) != request.num_documents:
            raise ValueError("an answer has one score per document")
        documents = request.documents if self._keeps_documents else ()
        document_keys = b"".join([digest(identity(document)) for document in documents])
        saved_at_us = max(int(self._clock() * 1e6), self._earliest_us)
        answer = StoredAnswer(request.key, request.scope, document_keys, scores, saved_at_us)
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
        others = [key for key in dict.fromkeys(keys) if key not in found]
        if self._stored.find(others):
            read = partial(self._read_stored, others)
            # A disk that cannot be read is at fault; an object store may ask for patience.
            found |= await (read() if self.is_local else insist(read, self._patience))
        if found:
            self._used.frombytes(prefixes(b"".join(found)).tobytes())
        return found

    async def earlier_answers(self, begun_us: int) -> QueryIndex:
        """Return the answers that were stored before an output was begun, by their query.

        What is saved from now on is never dated before that moment, whatever the clock says, so the
        same answers are found again when a killed run is repeated.

        Args:
            begun_us: When the output was begun, in microseconds since 1970.

        Raises:
            OutputFailed: if an answer could not be written for too long.
        """
        self._earliest_us = max(self._earliest_us, begun_us)
        await self.flush()
        return QueryIndex(self._folder, before_us=begun_us)

    async def flush(self, *, insist: bool = True) -> None:
        """Write all answers handed over; when it returns, a killed process loses none of them.

        Args:
            insist: Whether to try again if that fails.

        Raises:
            OutputFailed: if an answer could not be written; it is kept.
        """
        await self._writer.flush(insist=insist)

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

    async def _read_stored(self, keys: Sequence[bytes]) -> dict[bytes, Scores]:
        """Read answers; list the segments again if one of them is gone."""
        for _ in range(MAX_LISTINGS):
            try:
                places = self._stored.find(keys)  # on the loop, where batches are added
                return await asyncio.to_thread(self._stored.read, keys, places)
            except FileNotFoundError as error:
                gone = error
                async with self._writer.lock:  # no batch may be added to an old index
                    await asyncio.to_thread(self._stored.refresh)
        raise listed_in_vain(self._folder) from gone

    def _check_writable(self) -> None:
        probe = self._folder.child(f"probe-{uuid.uuid4().hex[:8]}")
        try:
            probe.publish(b"")
            probe.remove()
        except OutputFailed as error:
            if not is_lasting(error.__cause__):
                raise
            raise SettingsError(
                f"the score store {error.what}", which=self._folder.name, cure=error.cure
            ) from error
