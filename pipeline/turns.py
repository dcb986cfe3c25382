"""Work that keeps the CPU busy: step by step on the event loop, or aside in a thread.

Python runs one thread at a time, and one that wants its turn is woken, nearly always in vain, each
time the event loop takes something from a connection. So a few milliseconds of small steps, such as
calls of Arrow and NumPy, are cheaper on the loop itself, between two answers: reading, planning and
encoding in threads took a fifth more CPU. What takes longer goes aside after all, and so does
whatever waits for a disk or a network.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

Result = TypeVar("Result")


async def done(work: Callable[[], Result], *, aside: bool) -> Result:
    """What some work comes to, done at once or in a thread."""
    return await asyncio.to_thread(work) if aside else work()


async def take_steps(steps: Iterable[None], *, aside: bool) -> None:
    """Do some work in steps, all in a thread; else what has arrived has its turn between two."""
    if aside:
        await asyncio.to_thread(lambda: [None for _ in steps])
    else:
        for _ in steps:
            await asyncio.sleep(0)
