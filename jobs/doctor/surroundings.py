"""The checks around a run: the clock of this machine, and whether OUTPUT can be written."""

import asyncio
import time
import uuid
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from jobs.doctor.findings import Finding
from pipeline.core.errors import RerankError
from pipeline.storage.location import locate

MOST_OFF_S: Final = 60.0
"""Tolerated seconds of a clock; object stores refuse signatures from five minutes on."""

_TIMEOUT_S: Final = 10.0


async def check_clock(url: str) -> Finding:
    """Compare this machine's clock with the time that the service states; sends no key."""
    server_s = await asyncio.to_thread(_server_time_s, url)
    if server_s is None:
        return Finding("clock", "ok", "the service does not state its time")
    return describe_clock(time.time() - server_s)


def describe_clock(ahead_s: float) -> Finding:
    """Return the finding for a clock that is so many seconds ahead."""
    if abs(ahead_s) <= MOST_OFF_S:
        return Finding("clock", "ok", "this machine and the service agree on the time")
    where = "ahead of" if ahead_s > 0 else "behind"
    return Finding(
        "clock",
        "warn",
        f"this machine is {abs(ahead_s):,.0f} s {where} the service",
        "set its clock: object stores and certificates depend on it",
    )


async def check_output(name: str) -> Finding:
    """Write a small file to OUTPUT and remove it, with a folder that was created for it."""
    return await asyncio.to_thread(_check_output, name)


def _check_output(name: str) -> Finding:
    try:
        folder = locate(name)
        was_there = not folder.is_local or Path(name).is_dir()
        probe = folder.child(f"_probe-{uuid.uuid4().hex[:8]}")
        probe.publish(b"")
        probe.remove()
    except RerankError as error:
        what = str(error).removesuffix(f"; {error.cure}")
        return Finding("output", "fail", what, error.cure or "", error)
    if not was_there:
        with suppress(OSError):
            Path(name).rmdir()
    return Finding("output", "ok", f"{name} can be written")


def _server_time_s(url: str) -> float | None:
    """Return the time of a `Date` header, in seconds since 1970; None without one."""
    try:
        with urlopen(Request(url, method="HEAD"), timeout=_TIMEOUT_S) as answer:
            stated = answer.headers.get("Date")
    except HTTPError as error:
        stated = error.headers.get("Date")
    except (OSError, ValueError):
        return None
    try:
        return parsedate_to_datetime(stated).timestamp() if stated else None
    except ValueError:
        return None
