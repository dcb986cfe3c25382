"""When the sorted arrays of a log-structured merge tree are worth merging.

New keys come as small sorted arrays, runs. A run is merged with the one before it when they are of
like size, so a look-up visits few runs and an addition moves few numbers. A merge holds both twice
for a moment, and the freed halves may stay with the process, so no run becomes a large share of
all: of a million keys there are about ten runs.
"""

ALWAYS_MERGED = 1 << 16
MAX_SHARE = 8


def worth_merging(older: int, newer: int, total: int) -> bool:
    """Whether to merge the newest runs, given their sizes and that of all runs together."""
    return older <= 2 * newer and older + newer <= max(ALWAYS_MERGED, total // MAX_SHARE)
