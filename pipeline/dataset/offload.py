"""Where CPU-bound work runs: on the event loop, or aside in a thread.

Python runs one thread at a time, and a waiting thread is woken, nearly always in vain, each time
the event loop reads from a connection. So work of a few milliseconds, such as calls of Arrow and
NumPy, is cheaper on the loop, between two answers: reading, planning and encoding in threads took a
fifth more CPU. Work that takes longer runs in a thread, and so does any wait for a disk or network.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import TypeVar, cast

Item = TypeVar("Item")
Result = TypeVar("Result")


async def run(work: Callable[[], Result], *, aside: bool) -> Result:
    """Run `work` inline, or in a thread if `aside`, and return its result."""
    return await asyncio.to_thread(work) if aside else work()


async def run_to_end(work: Callable[[], Result]) -> Result:
    """Run `work` in a thread and return its result; a cancelled caller still waits for its end.

    For work that writes: no one else may write while the thread still runs.
    """
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        running.exception()  # the caller no longer asks for it
        raise


async def run_abandonable(work: Callable[[], Result], *, name: str) -> Result:
    """Run `work` in a thread and return its result; a cancelled caller does not wait for its end.

    For work of many seconds that cannot be interrupted. The thread does not keep the process alive.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(cast(Result, result))

    def body() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # raised again by the caller
            error = raised
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=body, name=name, daemon=True).start()
    return await done


async def prefetch(read: Callable[[], Item | None]) -> AsyncGenerator[Item]:
    """Yield what `read` returns until it returns None; call it in a thread, one call ahead.

    While the consumer works on one item the next one is read, and no more than that.
    """
    loop = asyncio.get_running_loop()
    upcoming = loop.run_in_executor(None, read)
    try:
        # Shielded: cancelling the future would not stop the thread, only hide it.
        while (item := await asyncio.shield(upcoming)) is not None:
            upcoming = loop.run_in_executor(None, read)
            yield item
    finally:
        # Leave no thread running. Drop the error of an item that is no longer wanted.
        await asyncio.wait([upcoming])
        upcoming.exception()
