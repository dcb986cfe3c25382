"""The one writer of a run's answers: takes what has arrived, writes it as one record batch.

Locally a batch is in the file 20 ms after its first answer came, plus the write itself; on an
object store the growing segment is put anew after a second. What waits to be written is bounded:
then handing over waits for the write.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pipeline.core.records import Scores
from pipeline.score_store.key_index import Place
from pipeline.score_store.rows import Answer, encode_in_batches
from pipeline.score_store.segment_index import BatchFacts
from pipeline.score_store.segment_writer import LiveSegments
from pipeline.score_store.segments import Message
from pipeline.storage.location import Location

MAX_WAITING = 2_048
"""Answers that wait to be written; with 500 documents each they take 16 MB."""

LOCAL_LINGER_S, REMOTE_LINGER_S = 0.02, 1.0
"""How long the first answer of a batch waits for others."""


class GroupCommit:
    """Hands a run's answers to the store, many at a time.

    Args:
        folder: The store.
        clock: Seconds since 1970.
        linger_s: How long the first answer of a batch waits for others.
        written: Told of each batch when it is in its file.
    """

    def __init__(
        self,
        folder: Location,
        *,
        clock: Callable[[], float],
        linger_s: float | None,
        written: Callable[[Place, BatchFacts], None],
    ) -> None:
        self.turn = asyncio.Lock()
        """Held while a batch is written or the store's files are rearranged."""
        default_s = LOCAL_LINGER_S if folder.is_local else REMOTE_LINGER_S
        self._linger_s = default_s if linger_s is None else linger_s
        self._written = written
        self._files = LiveSegments(folder, clock)
        # A thread of its own: what was paid must not queue behind slow Parquet reads.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="score-store")
        self._arrived: dict[bytes, Answer] = {}
        self._in_writing: dict[bytes, Answer] = {}
        self._due = asyncio.Event()
        self._closing = False
        self._failure: BaseException | None = None
        self._task = asyncio.create_task(self._write_when_due(), name="score-store-writer")

    async def put(self, answer: Answer) -> None:
        """Take an answer over; it waits only while too much waits to be written.

        Raises:
            OutputFailed: if this or an earlier answer could not be written.
        """
        while len(self._arrived) >= MAX_WAITING:
            await self.flush()
        self._refuse_after_failure()
        if not self._arrived:
            asyncio.get_running_loop().call_later(self._linger_s, self._due.set)
        self._arrived[answer.key] = answer

    def get(self, key: bytes) -> Scores | None:
        """An answer that is not written yet."""
        answer = self._arrived.get(key) or self._in_writing.get(key)
        return None if answer is None else answer.scores

    async def flush(self) -> None:
        """Write all that has arrived; when it returns, a killed process loses none of it.

        Raises:
            OutputFailed: if this or an earlier answer could not be written.
        """
        async with self.turn:
            await self._write_arrived()

    async def seal(self) -> None:
        """Write all that has arrived and close the segment; the next answer begins a new one.

        Raises:
            OutputFailed: if this or an earlier answer could not be written.
        """
        async with self.turn:
            await self._write_arrived()
            await asyncio.get_running_loop().run_in_executor(self._thread, self._files.seal)

    async def close(self) -> None:
        """Write what is left, close the segment and end the writer.

        Raises:
            OutputFailed: if this or an earlier answer could not be written.
        """
        self._closing = True
        self._due.set()
        try:
            await self._task
            await self.seal()
        finally:
            self._thread.submit(self._files.abandon)
            self._thread.shutdown(wait=False)

    async def _write_when_due(self) -> None:
        while not self._closing:
            await self._due.wait()
            self._due.clear()
            async with self.turn:
                if self._failure is None:
                    await self._write_arrived()

    async def _write_arrived(self) -> None:
        self._refuse_after_failure()
        if not self._arrived:
            return
        # Encoded here: in the thread it would take turns with the event loop, which costs more.
        batches = encode_in_batches(list(self._arrived.values()))
        messages = [Message.of(batch) for batch in batches]
        self._in_writing |= self._arrived
        self._arrived = {}
        writing = asyncio.get_running_loop().run_in_executor(
            self._thread, self._files.write, messages
        )
        # A callback, since the thread goes on when whoever waits here is cancelled.
        writing.add_done_callback(self._settle)
        await asyncio.wait([writing])
        self._refuse_after_failure()

    def _settle(self, writing: asyncio.Future[list[tuple[Place, BatchFacts]]]) -> None:
        self._failure = writing.exception()
        if self._failure is None:
            for place, facts in writing.result():
                self._written(place, facts)
                for key in facts.iter_keys():
                    self._in_writing.pop(key, None)

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
