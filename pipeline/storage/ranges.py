"""Which reads serve many small pieces of a file: pieces that lie close together go as one."""

from collections.abc import Iterator, Sequence

MAX_GAP, MAX_SPAN = 128 * 1024, 8 * 1024 * 1024
"""Bytes that are read in vain between two pieces, and bytes of one read."""


def coalesce_ranges(
    ranges: Sequence[tuple[int, int]],
) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Join ranges, each an offset and a size: yield start, size, and the ranges within, by offset.

    A range larger than `MAX_SPAN` is a read of its own.
    """
    start, stop, within = 0, 0, list[tuple[int, int]]()
    for offset, size in sorted(ranges):
        if within and (offset - stop > MAX_GAP or offset + size - start > MAX_SPAN):
            yield start, stop - start, within
            within = []
        if not within:
            start, stop = offset, offset
        within.append((offset, size))
        stop = max(stop, offset + size)
    if within:
        yield start, stop - start, within
