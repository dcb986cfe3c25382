"""Ranges of input rows, such as those of the parts that are written."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class RowSpans:
    """A set of input rows, as sorted and disjoint ranges [start, stop)."""

    def __init__(self, spans: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in sorted(spans):
            if start >= stop:
                continue
            if self._stops and start <= self._stops[-1]:
                self._stops[-1] = max(stop, self._stops[-1])
            else:
                self._starts.append(start)
                self._stops.append(stop)

    def split(self, start: int, stop: int) -> Iterator[tuple[int, int, bool]]:
        """Yield the pieces of a range in order: start, stop, and whether its rows are in the set.

        No piece is empty.
        """
        at = bisect_right(self._stops, start)
        while start < stop:
            begin = self._starts[at] if at < len(self._starts) else stop
            if start < begin:
                yield start, min(begin, stop), False
            if begin < stop:
                yield max(begin, start), min(self._stops[at], stop), True
                start = self._stops[at]
                at += 1
            else:
                start = stop

    def covers(self, start: int, stop: int) -> bool:
        """Return whether every row of a range is in the set."""
        return all(inside for _, _, inside in self.split(start, stop))

    def end_of_work(self, num_rows: int) -> int:
        """Return the first row from which all of an input's `num_rows` rows are in the set."""
        last = bisect_left(self._starts, num_rows) - 1
        reaches_end = last >= 0 and self._stops[last] >= num_rows
        return self._starts[last] if reaches_end else num_rows
