"""Start and end of the service: in a running event loop, or as a process of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from aiohttp import web

from jobs.emulator.config import EmulatorConfig
from jobs.emulator.server import Emulator
from jobs.emulator.sliding_window import Clock
from jobs.emulator.stats import Stats
from jobs.emulator.vendor_formats import FORMATS
from jobs.process.parent import when_input_ends
from pipeline.core.errors import SettingsError

_BACKLOG = 1_024  # connections waiting to be accepted
_SHUTDOWN_TIMEOUT_S = 1.0  # for requests in flight at the end


class RunningEmulator(NamedTuple):
    """A running service: `url` is its scheme, host and port, `stats` its counts so far."""

    url: str
    stats: Stats


@asynccontextmanager
async def running_emulator(
    config: EmulatorConfig | None = None, *, clock: Clock = time.monotonic
) -> AsyncIterator[RunningEmulator]:
    """Run the service in the current event loop.

    Args:
        config: Of the service; by default it answers every valid request at once.
        clock: Seconds, for quotas and counts.

    Raises:
        SettingsError: if it cannot listen at its address.
    """
    config = config or EmulatorConfig()
    emulator = Emulator(config, clock)
    runner = web.AppRunner(
        emulator.app(),
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
    )
    await runner.setup()
    try:
        await _listen(runner, config)
        host, port = runner.addresses[0][:2]
        address = f"[{host}]" if ":" in host else host
        yield RunningEmulator(f"http://{address}:{port}", emulator.stats)
    finally:
        await runner.cleanup()


async def serve(
    config: EmulatorConfig,
    announce: Callable[[str], None],
    end: asyncio.Event,
    *,
    exit_with_parent: bool,
) -> None:
    """Serve until `end` is set, or with `exit_with_parent` until standard input ends.

    Args:
        config: Of the service.
        announce: Called with the address of the format's endpoint once the service is up.
        end: Ends the service.
        exit_with_parent: For a child process; its standard input ends when its parent exits.
    """
    loop = asyncio.get_running_loop()

    def end_from_thread() -> None:
        with suppress(RuntimeError):  # the loop is closed: the service has ended
            loop.call_soon_threadsafe(end.set)

    if exit_with_parent:
        when_input_ends(end_from_thread)
    async with running_emulator(config) as running:
        announce(running.url + FORMATS[config.format])
        await end.wait()


async def _listen(runner: web.AppRunner, config: EmulatorConfig) -> None:
    try:
        await web.TCPSite(runner, config.host, config.port, backlog=_BACKLOG).start()
    except OSError as error:
        raise SettingsError(
            "cannot listen",
            which=f"{config.host}:{config.port}",
            found=error.strerror,
            cure="choose another --port, or 0 for any that is free",
        ) from error
