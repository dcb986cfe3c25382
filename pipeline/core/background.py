"""Work that runs beside other work, and never outlives it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def background(
    work: Coroutine[Any, Any, None], *, name: str
) -> AsyncIterator[asyncio.Task[None]]:
    """Run `work` while the body runs; cancel it and await its end when the body ends.

    An error of the work cancels the body and is raised in its place.

    Args:
        work: What to run.
        name: The task's name.

    Yields:
        The task.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(work, name=name)
            try:
                yield task
            finally:
                task.cancel()
    except BaseExceptionGroup as group:
        # Raise the first error without its group: the body's own, or that of the work.
        error = group.exceptions[0]
        raise error from error.__cause__
