"""Count the candidates of an input whose doc_id occurs earlier in their query."""

import numpy as np

from pipeline.core.arrays import IntArray
from pipeline.core.groups import Id
from pipeline.source.adjacency import find_starts
from pipeline.source.arrow import Array, concat
from pipeline.source.decoded_rows import DecodedIds


class RepeatedIds:
    """Counts repeated ids, piece by piece; keeps the ids of the last query, which may continue.

    Attributes:
        count: Candidates whose doc_id occurs earlier in their query.
    """

    def __init__(self) -> None:
        self.count = 0
        self._last_id: Id | None = None
        self._open: list[Array] = []

    def add(self, ids: DecodedIds) -> None:
        """Take the ids of the next rows, at least one.

        A null doc_id is not counted: it stands for a query without candidates.
        """
        starts = ids.offsets[find_starts(ids.query_ids, self._last_id)]
        self._last_id = ids.query_ids[-1].as_py()
        if not len(starts):
            self._open.append(ids.doc_ids)
            return
        first, last = int(starts[0]), int(starts[-1])
        self._open.append(ids.doc_ids.slice(0, first))
        self._close()
        self.count += _count(ids.doc_ids.slice(first, last - first), np.diff(starts))
        self._open = [ids.doc_ids.slice(last)]

    def end(self) -> int:
        """Count the last query too, as all ids were given; return the count."""
        self._close()
        return self.count

    def _close(self) -> None:
        if self._open:
            doc_ids = concat(self._open)
            self.count += _count(doc_ids, np.array([len(doc_ids)]))
        self._open = []


def _count(doc_ids: Array, sizes: IntArray) -> int:
    """Return the repeated ids of whole queries with these numbers of candidates."""
    encoded = doc_ids.dictionary_encode()
    num_ids = len(encoded.dictionary)
    if num_ids == len(doc_ids):
        return 0
    query: IntArray = np.repeat(np.arange(len(sizes)), sizes)
    places = encoded.indices
    if places.null_count:
        query, places = query[np.asarray(places.is_valid())], places.drop_null()
    pairs = query * num_ids + np.asarray(places, np.int64)
    pairs.sort()
    return int((pairs[1:] == pairs[:-1]).sum())
