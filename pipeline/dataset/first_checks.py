"""Check the ids of a whole input before the first request."""

import asyncio
import threading
from typing import Final

from pipeline.dataset.reader import log_repeated_ids
from pipeline.dataset.run_stats import RunStats
from pipeline.source.source import Source

_MAX_ROWS: Final = 50_000_000
"""Inputs with more rows are not checked: reading the ids of so many takes seconds of one core."""


async def check_ids(source: Source, stats: RunStats, *, duplicates: str) -> None:
    """Count the queries of the input and its repeated ids; only the ids are read.

    Args:
        source: The input; one with too many rows is not checked.
        stats: Where queries are counted, and candidates without those left out.
        duplicates: How repeated ids are handled: `keep` or `first`.

    Raises:
        InputError: if the ids show a fault; nothing is paid for the input yet.
    """
    if source.num_rows > _MAX_ROWS:
        return
    ended = threading.Event()
    try:
        checked = await asyncio.to_thread(source.check_ids, ended.is_set)
    finally:
        ended.set()  # ends the thread once nobody waits for it
    stats.groups = checked.num_groups
    if duplicates == "first" and stats.candidates is not None:
        stats.candidates -= checked.num_repeated
    log_repeated_ids(checked.num_repeated, duplicates)
