"""Limits of the work that a run holds at once."""

from msgspec import Struct

from pipeline.core.backoff import Backoff
from pipeline.source.batch_reader import BatchLimits
from pipeline.storage.retries import STORAGE_BACKOFF


class RunLimits(Struct, frozen=True, kw_only=True):
    """Bounds on the work of one run; its results do not depend on them.

    With the defaults a run takes at most 300 MB of memory, and never holds the event loop for more
    than some milliseconds.

    Attributes:
        groups_per_request: Groups in work for each request that may be in flight, so that one is
            always ready to be sent.
        max_bytes_in_work: Texts of the groups in work; as strings and request bodies they take
            about three times as much.
        max_candidates_in_parts: Ranked candidates that may wait for their part to be written.
        max_bytes_in_parts: Texts and other strings that pass through to the output and may wait to
            be encoded, those of the groups in work included; more than a piece of a part.
        drain_s: Seconds that requests in flight may take once the run must stop.
        groups_at_once: Groups that are planned on the event loop without a pause.
        max_candidates_inline: Work on more candidates than this goes to a thread: it takes more
            than about 10 ms.
        max_bytes_inline: The same for bytes of texts; larger than a batch of the input, so that
            only a group that spans several pieces can exceed it.
        large_group_bytes: Bytes of texts from which a group takes so long that returning free
            memory to the system costs next to nothing.
        max_free_bytes: What may be free in the heap while such groups are in work.
        batch: How much of the input is decoded at once.
        storage_backoff: Waits between two attempts at a failed read or write.
    """

    groups_per_request: int = 2
    max_bytes_in_work: int = 16 << 20
    max_candidates_in_parts: int = 1_000_000
    max_bytes_in_parts: int = 8 << 20
    drain_s: float = 4.0
    groups_at_once: int = 160
    max_candidates_inline: int = 16_384
    max_bytes_inline: int = 8 << 20
    large_group_bytes: int = 1_280 << 10
    max_free_bytes: int = 16 << 20
    batch: BatchLimits = BatchLimits()
    storage_backoff: Backoff = STORAGE_BACKOFF
