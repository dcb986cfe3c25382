"""The single writer of a run's answers: writes all that have arrived as one record batch.

Locally a batch is in the file 20 ms after its first answer arrived, plus the time of the write; on
an object store the growing segment is uploaded again after a second. Answers that cannot be written
are kept and tried again. Meanwhile a gate is closed, so that nothing more is paid for and few
answers wait.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from functools import partial
from types import TracebackType
from typing import Self

from pipeline.core.background import background
from pipeline.core.errors import OutputFailed
from pipeline.core.events import log_event
from pipeline.core.gate import Gate
from pipeline.core.records import Scores
from pipeline.score_store.key_index import Place
from pipeline.score_store.limits import StoreLimits
from pipeline.score_store.rows import StoredAnswer, encode_in_batches
from pipeline.score_store.segment_index import BatchFacts
from pipeline.score_store.segment_writer import SegmentWriter
from pipeline.score_store.segments import Message
from pipeline.storage.location import Location
from pipeline.storage.retries import Failures, Patience

_log = logging.getLogger(__name__)

LOCAL_LINGER_S, REMOTE_LINGER_S = 0.02, 1.0
"""How long the first answer of a batch waits for others."""


class GroupCommit:
    """Hands a run's answers to the store, many at a time; use with `async with`.

    An answer that was handed over is kept until it is written, whatever fails, and tried once more
    at the end.

    Args:
        folder: The store.
        clock: Seconds since 1970.
        linger_s: How long the first answer of a batch waits for others.
        limits: When a segment is closed, and how many answers may wait.
        patience: How long to retry if the store cannot be written.
        on_written: Called with each batch when it is in its file.

    Attributes:
        gate: Open while answers can be written; broken once it has failed for too long.
        lock: Held while a batch is written or the store's files are rearranged.
    """

    def __init__(
        self,
        folder: Location,
        *,
        clock: Callable[[], float],
        linger_s: float | None,
        limits: StoreLimits,
        patience: Patience,
        on_written: Callable[[Place, BatchFacts], None],
    ) -> None:
        self.gate = Gate()
        self.lock = asyncio.Lock()
        default_s = LOCAL_LINGER_S if folder.is_local else REMOTE_LINGER_S
        self._folder = folder
        self._linger_s = default_s if linger_s is None else linger_s
        self._limits = limits
        self._on_written = on_written
        self._segments = SegmentWriter(folder, clock, limits)
        self._failures = Failures(patience, lambda: asyncio.get_running_loop().time())
        # A thread of its own: paid answers must not queue behind slow Parquet reads.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="score-store")
        self._arrived: dict[bytes, StoredAnswer] = {}
        self._in_writing: dict[bytes, StoredAnswer] = {}
        self._messages: list[Message] = []  # of answers in writing, between two attempts
        self._error: BaseException | None = None  # of the last attempt
        self._given_up: OutputFailed | None = None
        self._due = asyncio.Event()
        self._closing = asyncio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start the writer."""
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
        """Write the remaining answers, in one more attempt, and close the segment.

        Raises:
            OutputFailed: if an answer could not be written.
        """
        self._closing.set()
        self._due.set()
        try:
            await self._writing
            async with self.lock:
                failed = await self._try_to_write()
            if failed is not None:
                raise self._lost(failed) from failed
            try:
                await self._close_segment()
            except OutputFailed as failure:  # every answer is there; readers do without the index
                log_event(_log, logging.WARNING, "score_store.not_closed", error=str(failure))
        finally:
            self._thread.submit(self._segments.abandon)
            self._thread.shutdown(wait=False)
            await self._stack.aclose()

    async def put(self, answer: StoredAnswer) -> None:
        """Take an answer over; then wait only while too many answers wait to be written.

        Raises:
            OutputFailed: if answers could not be written for too long; this one is kept as well.
        """
        if not self._arrived:
            asyncio.get_running_loop().call_later(self._linger_s, self._due.set)
        self._arrived[answer.key] = answer
        self._raise_if_given_up()
        if len(self._arrived) > self._limits.max_waiting:
            await self.flush()

    @property
    def num_unsaved(self) -> int:
        """Answers that are not written yet."""
        return len(self._arrived) + len(self._in_writing)

    def get(self, key: bytes) -> Scores | None:
        """Return an answer that is not written yet."""
        answer = self._arrived.get(key) or self._in_writing.get(key)
        return None if answer is None else answer.scores

    async def flush(self, *, insist: bool = True) -> None:
        """Write all that has arrived; when it returns, a killed process loses none of it.

        Args:
            insist: Whether to try again if that fails.

        Raises:
            OutputFailed: if it could not be written; it is kept.
        """
        if self._error is not None and not insist:
            raise self._error
        async with self.lock:
            self._raise_if_given_up()
            await self._write_arrived(insist=insist)

    async def seal(self) -> None:
        """Write all that has arrived and close the segment; the next answer begins a new one.

        Raises:
            OutputFailed: if it cannot be written; what has arrived is kept.
        """
        await self.flush()
        await self._close_segment()

    async def _close_segment(self) -> None:
        async with self.lock:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._segments.seal)

    async def _write_when_due(self) -> None:
        while not self._closing.is_set():
            await self._due.wait()
            self._due.clear()
            async with self.lock:
                if self._given_up is None:
                    with suppress(OutputFailed):  # it broke the gate, or is tried again at the end
                        await self._write_arrived()

    async def _write_arrived(self, *, insist: bool = True) -> None:
        """Write what has arrived, in as many tries as are allowed."""
        while (error := await self._try_to_write()) is not None:
            if not (isinstance(error, OutputFailed) and insist) or self._closing.is_set():
                raise error
            try:
                wait_s = self._failures.next_wait_s(error)
            except OutputFailed as failure:
                self._given_up = failure
                self.gate.break_with(failure)
                raise
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._closing.wait()

    async def _try_to_write(self) -> BaseException | None:
        """Write what has arrived, in one try; return why it failed."""
        if self._arrived:
            # Encoded here: in the thread it would compete with the event loop, which costs more.
            batches = encode_in_batches(list(self._arrived.values()))
            self._messages += [Message.of(batch) for batch in batches]
            self._in_writing |= self._arrived
            self._arrived = {}
        if not self._messages:
            return None
        messages, self._messages = self._messages, []
        loop = asyncio.get_running_loop()
        slow = loop.call_later(self._limits.slow_after_s, self.gate.close)
        writing = loop.run_in_executor(self._thread, self._segments.write, messages)
        # Callbacks, since the thread goes on if the caller that waits here is cancelled.
        writing.add_done_callback(lambda _: slow.cancel())
        writing.add_done_callback(partial(self._settle, messages))
        await asyncio.wait([writing])
        return self._error

    def _settle(
        self, messages: list[Message], writing: asyncio.Future[list[tuple[Place, BatchFacts]]]
    ) -> None:
        self._error = writing.exception()
        if self._error is not None:
            self._messages = messages + self._messages
            self.gate.close()
            return
        for place, facts in writing.result():
            self._on_written(place, facts)
            for key in facts.iter_keys():
                self._in_writing.pop(key, None)
        self._failures.end()
        self.gate.open()

    def _raise_if_given_up(self) -> None:
        if self._given_up is not None:
            raise self._given_up.with_traceback(None)

    def _lost(self, error: BaseException) -> OutputFailed:
        what = error.what if isinstance(error, OutputFailed) else str(error)
        return OutputFailed(
            f"{len(self._in_writing)} paid answers are lost: {what}",
            which=self._folder.name,
            cure=error.cure if isinstance(error, OutputFailed) else None,
        )
