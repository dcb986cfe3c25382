"""The one writer of a run's answers: writes what has arrived as one record batch.

Locally a batch is in the file 20 ms after its first answer arrived, plus the time of the write; on
an object store the growing segment is uploaded again after a second. The number of answers that
wait to be written is bounded: beyond it, handing over waits for the write.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from pipeline.core.background import background
from pipeline.core.records import Scores
from pipeline.score_store.key_index import Place
from pipeline.score_store.limits import StoreLimits
from pipeline.score_store.rows import StoredAnswer, encode_in_batches
from pipeline.score_store.segment_index import BatchFacts
from pipeline.score_store.segment_writer import SegmentWriter
from pipeline.score_store.segments import Message
from pipeline.storage.location import Location

LOCAL_LINGER_S, REMOTE_LINGER_S = 0.02, 1.0
"""How long the first answer of a batch waits for others."""


class GroupCommit:
    """Hands a run's answers to the store, many at a time; use with `async with`.

    All methods but `get` raise OutputFailed if this or an earlier answer could not be written.

    Args:
        folder: The store.
        clock: Seconds since 1970.
        linger_s: How long the first answer of a batch waits for others.
        limits: When a segment is closed, and how many answers may wait.
        on_written: Called with each batch when it is in its file.
    """

    def __init__(
        self,
        folder: Location,
        *,
        clock: Callable[[], float],
        linger_s: float | None,
        limits: StoreLimits,
        on_written: Callable[[Place, BatchFacts], None],
    ) -> None:
        self.lock = asyncio.Lock()
        """Held while a batch is written or the store's files are rearranged."""
        default_s = LOCAL_LINGER_S if folder.is_local else REMOTE_LINGER_S
        self._linger_s = default_s if linger_s is None else linger_s
        self._max_waiting = limits.max_waiting
        self._on_written = on_written
        self._segments = SegmentWriter(folder, clock, limits)
        # A thread of its own: what was paid must not queue behind slow Parquet reads.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="score-store")
        self._arrived: dict[bytes, StoredAnswer] = {}
        self._in_writing: dict[bytes, StoredAnswer] = {}
        self._due = asyncio.Event()
        self._closing = False
        self._failure: BaseException | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Begin to write what is due."""
        self._writing = await self._stack.enter_async_context(
            background(self._write_when_due(), name="score-store-writer")
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what is left and close the segment."""
        self._closing = True
        self._due.set()
        try:
            await self._writing
            await self.seal()
        finally:
            self._thread.submit(self._segments.abandon)
            self._thread.shutdown(wait=False)
            await self._stack.aclose()

    async def put(self, answer: StoredAnswer) -> None:
        """Take an answer over; wait only while too many answers wait to be written."""
        while len(self._arrived) >= self._max_waiting:
            await self.flush()
        self._raise_failure()
        if not self._arrived:
            asyncio.get_running_loop().call_later(self._linger_s, self._due.set)
        self._arrived[answer.key] = answer

    def get(self, key: bytes) -> Scores | None:
        """Return an answer that is not written yet."""
        answer = self._arrived.get(key) or self._in_writing.get(key)
        return None if answer is None else answer.scores

    async def flush(self) -> None:
        """Write all that has arrived; when it returns, a killed process loses none of it."""
        async with self.lock:
            self._raise_failure()
            await self._write_arrived()
        self._raise_failure()

    async def seal(self) -> None:
        """Write all that has arrived and close the segment; the next answer begins a new one."""
        await self.flush()
        async with self.lock:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._segments.seal)

    async def _write_when_due(self) -> None:
        while not self._closing:
            await self._due.wait()
            self._due.clear()
            async with self.lock:
                if self._failure is None:
                    await self._write_arrived()

    async def _write_arrived(self) -> None:
        if not self._arrived:
            return
        # Encoded here: in the thread it would compete with the event loop, which costs more.
        batches = encode_in_batches(list(self._arrived.values()))
        messages = [Message.of(batch) for batch in batches]
        self._in_writing |= self._arrived
        self._arrived = {}
        writing = asyncio.get_running_loop().run_in_executor(
            self._thread, self._segments.write, messages
        )
        # A callback, since the thread goes on if the caller that waits here is cancelled.
        writing.add_done_callback(self._settle)
        await asyncio.wait([writing])

    def _settle(self, writing: asyncio.Future[list[tuple[Place, BatchFacts]]]) -> None:
        self._failure = writing.exception()
        if self._failure is None:
            for place, facts in writing.result():
                self._on_written(place, facts)
                for key in facts.iter_keys():
                    self._in_writing.pop(key, None)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
