"""Work that keeps the CPU busy: step by step on the event loop, or aside in a thread.

Python runs one thread at a time, and one that wants its turn is woken, nearly always in vain, each
time the event loop takes something from a connection. So a few milliseconds of small steps, such as
calls of Arrow and NumPy, are cheaper on the loop itself, between two answers: reading, planning and
encoding in threads took a fifth more CPU. What takes longer goes aside after all, and so does
whatever waits for a disk or a network.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def run(work: Callable[[], Result], *, aside: bool) -> Result:
    """What some work comes to, done at once or in a thread."""
    return await asyncio.to_thread(work) if aside else work()


async def run_steps(steps: Iterable[None], *, aside: bool) -> None:
    """Do some work in steps, all in a thread; else what has arrived has its turn between two."""
    if aside:
        await asyncio.to_thread(lambda: [None for _ in steps])
    else:
        for _ in steps:
            await asyncio.sleep(0)


async def prefetch(read: Callable[[], Item | None]) -> AsyncGenerator[Item]:
    """Yield what `read` returns until it returns None; it runs in a thread, one call ahead.

    While the consumer works on one item, the next is being read; never more than that.
    """
    loop = asyncio.get_running_loop()
    upcoming = loop.run_in_executor(None, read)
    try:
        # Shielded, since to cancel the future would not stop the thread, only hide it.
        while (item := await asyncio.shield(upcoming)) is not None:
            upcoming = loop.run_in_executor(None, read)
            yield item
    finally:
        # Do not leave the thread reading behind our back. What went wrong with an item that
        # nobody wants any more is of no interest.
        await asyncio.wait([upcoming])
        upcoming.exception()
