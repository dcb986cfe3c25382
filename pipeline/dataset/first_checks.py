"""What is checked of a whole input before the first request: its ids."""

import asyncio
import threading
from typing import Final

from pipeline.dataset.reader import log_repeated_ids
from pipeline.dataset.run_stats import RunStats
from pipeline.source.source import Source

_MAX_ROWS: Final = 50_000_000
"""Reading the ids of so many rows takes some seconds of one core."""


async def check_ids(source: Source, stats: RunStats, *, duplicates: str) -> None:
    """Count the queries of the input and its repeated ids; only the ids are read.

    Args:
        source: The input; nothing is checked of one with too many rows.
        stats: Where the queries are counted.
        duplicates: What becomes of repeated ids, for the log.

    Raises:
        InputError: if the ids show a fault; nothing is paid for the input yet.
    """
    if source.num_rows > _MAX_ROWS:
        return
    ended = threading.Event()
    try:
        checked = await asyncio.to_thread(source.check_ids, ended.is_set)
    finally:
        ended.set()  # the thread ends too, if nobody waits for it any more
    stats.groups = checked.num_groups
    log_repeated_ids(checked.num_repeated, duplicates)
