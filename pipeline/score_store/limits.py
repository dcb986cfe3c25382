"""Sizes and times of a store, in one value."""

from msgspec import Struct


class StoreLimits(Struct, frozen=True):
    """When batches and segments are written, closed and folded; no stored answer depends on it.

    Attributes:
        max_waiting: Answers that may wait to be written; with 500 documents each they take 16 MB.
        slow_after_s: While a write takes longer than this, nothing more is sent to the service.
        full_bytes: A segment of this size is closed and the next one begun; compaction folds
            smaller ones. Whole segments fit in memory.
        remote_full_bytes: The same on an object store, where a segment is uploaded again with each
            batch: bounds what is sent again.
        folded_bytes: Size of a batch that compaction writes: the least that one look-up reads.
        max_age_s: A segment of this age is closed.
        abandoned_after_s: A segment that is not closed and was not written for so long has no
            writer; many times `max_age_s`.
        replaced_for_s: How long a segment that compaction has replaced is kept, since runs that
            listed it before still read it.
    """

    max_waiting: int = 2_048
    slow_after_s: float = 5.0
    full_bytes: int = 8 << 20
    remote_full_bytes: int = 4 << 20
    folded_bytes: int = 64 << 10
    max_age_s: float = 3_600.0
    abandoned_after_s: float = 24 * 3_600.0
    replaced_for_s: float = 900.0
