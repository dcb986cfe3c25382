"""The record of a run, kept up to date while it goes on and closed however it ends.

A record is for whoever watches: if it cannot be written, that is told, and the run goes on.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from pipeline.core.errors import Interrupted, OutputFailed, RerankError
from pipeline.core.events import log_event
from pipeline.dataset.summary import EndState
from pipeline.output.run_records import RunRecord
from pipeline.storage.location import Location

log = logging.getLogger(__name__)

EVERY_S, REMOTE_EVERY_S = 2.0, 5.0
"""How old a record may be when a run is killed."""


@asynccontextmanager
async def recorded_run(
    output: Location,
    look: Callable[[], dict[str, Any]],
    ended: Callable[[EndState], None],
    *,
    is_partial: Callable[[], bool],
    **facts: Any,
) -> AsyncIterator[None]:
    """Keep a record while the body runs.

    Args:
        output: The output folder.
        look: Gives the run's numbers as they are now.
        ended: Is told how the body ended, before the numbers are taken a last time.
        is_partial: Whether a body that ended well left too much undone.
        facts: What is known at the start.

    Raises:
        OutputFailed: if the record cannot be begun; the body does not run then.
    """
    record = await asyncio.to_thread(RunRecord, output, **facts, **look())
    every_s = EVERY_S if output.is_local else REMOTE_EVERY_S
    stop = asyncio.Event()
    keeping = asyncio.create_task(_keep(record, look, stop, every_s), name="run-record")
    state: EndState = "failed"
    exit_code, message = 1, None
    try:
        yield
        state, exit_code = ("partial", 7) if is_partial() else ("done", 0)
    except BaseException as error:  # whatever ends the run is recorded, and goes on
        leaf = first_leaf(error)
        message = str(leaf) or type(leaf).__name__
        exit_code = leaf.exit_code if isinstance(leaf, RerankError) else 1
        state = "interrupted" if isinstance(leaf, Interrupted) else "failed"
        raise
    finally:
        stop.set()
        await keeping  # not cancelled: its last write must not come after the final one
        ended(state)
        try:
            await asyncio.to_thread(record.finish, state, exit_code, message, **look())
        except OutputFailed as failure:
            log_event(log, logging.WARNING, "run_record.not_written", error=str(failure))


async def _keep(
    record: RunRecord, look: Callable[[], dict[str, Any]], stop: asyncio.Event, every_s: float
) -> None:
    while True:
        try:
            await asyncio.wait_for(stop.wait(), every_s)
        except TimeoutError:
            pass
        else:
            return
        try:
            await asyncio.to_thread(record.update, **look())
        except OutputFailed as failure:
            log_event(log, logging.WARNING, "run_record.not_written", error=str(failure))


def first_leaf(error: BaseException) -> BaseException:
    """The first error of a group, at any depth; an error that is no group is its own leaf."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
