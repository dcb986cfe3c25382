"""Write a run's record at intervals, and whenever it is waited for."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from pipeline.core.errors import OutputFailed
from pipeline.core.events import log_event

_log = logging.getLogger(__name__)


class RecordWriter:
    """Writes a run's record at intervals and on request; one write at a time.

    Args:
        publish: Writes the record as it is now; raises OutputFailed.
        every_s: Seconds between two regular writes.
    """

    def __init__(self, publish: Callable[[], Awaitable[None]], every_s: float) -> None:
        self._publish = publish
        self._every_s = every_s
        self._asked: list[asyncio.Future[None]] = []
        self._due = asyncio.Event()
        self._is_ending = False

    async def write(self) -> None:
        """Write the record as it is now; return when it is written.

        Raises:
            OutputFailed: if it cannot be written.
            RuntimeError: after the end.
        """
        if self._is_ending:
            raise RuntimeError("the record of a run is written no more after its end")
        written = asyncio.get_running_loop().create_future()
        self._asked.append(written)
        self._due.set()
        await written

    def end(self) -> None:
        """Stop writing: cancel requested writes; later ones fail at once."""
        self._is_ending = True
        self._due.set()

    async def run(self) -> None:
        """Write until the end."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._due.wait()
            self._due.clear()
            asked, self._asked = self._asked, []
            if self._is_ending:
                for written in asked:
                    written.cancel()
                return
            try:
                await self._publish()
            except OutputFailed as failure:
                log_not_written(failure)
                for written in asked:
                    if not written.done():
                        written.set_exception(failure)
            for written in asked:
                if not written.done():
                    written.set_result(None)


def log_not_written(failure: OutputFailed) -> None:
    """Log that a record could not be written."""
    log_event(_log, logging.WARNING, "run_record.not_written", error=str(failure))
