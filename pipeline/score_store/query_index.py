"""Find answers that were paid for before a given time, by their query.

The index is independent of the store's own, and holds only answers that were saved before that
time. So it finds the same answers throughout a run, and when a killed run is repeated.

Everything here blocks on files: call it in a thread.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.core.arrays import KeyArray
from pipeline.score_store.key_index import KeyIndex, Place
from pipeline.score_store.listing import iter_segments, read_listed
from pipeline.score_store.rows import Saved, StoredAnswer, prefixes
from pipeline.score_store.segments import Segment, read_batches
from pipeline.storage.location import Location


class QueryIndex:
    """Earlier answers by query; its index, some 5 bytes an answer, is built at the first look-up.

    Args:
        folder: The store.
        before_us: Microseconds since 1970; answers saved then or later are not seen.
    """

    def __init__(self, folder: Location, *, before_us: int) -> None:
        self._folder = folder
        self._before_us = before_us
        self._index: KeyIndex | None = None

    def find(self, scopes: Sequence[bytes]) -> dict[bytes, list[StoredAnswer]]:
        """Return the valid answers to each of these queries, by ascending key.

        A query is named by the scope of its requests, so it is one of this model and instruction.
        Ask for many queries at once. Of an answer that is stored twice, the first one saved counts.

        Raises:
            OutputFailed: if the store cannot be read.
        """
        wanted = np.unique(prefixes(b"".join(scopes)))
        answers = read_listed(self._folder, lambda: self._find(wanted))
        answers.sort(key=lambda found: (found[1].key, found[0]))
        found: dict[bytes, list[StoredAnswer]] = {scope: [] for scope in scopes}
        for _, answer in answers:
            of_query = found.get(answer.scope)
            if of_query is not None and (not of_query or of_query[-1].key != answer.key):
                of_query.append(answer)
        return found

    def _find(self, wanted: KeyArray) -> list[tuple[Saved, StoredAnswer]]:
        index, self._index = self._index, None  # not kept if a segment is gone
        index = index or self._read_index()
        found = list(self._read(index.find(wanted), wanted))
        self._index = index
        return found

    def _read_index(self) -> KeyIndex:
        index = KeyIndex()
        for segment in iter_segments(self._folder):
            for place, scopes in self._scopes(segment):
                index.add(place, scopes)
        return index

    def _scopes(self, segment: Segment) -> Iterator[tuple[Place, KeyArray]]:
        batches = [facts for facts in segment.batches if facts.oldest_us < self._before_us]
        ranges = [(facts.offset, facts.size) for facts in batches]
        read = read_batches(segment.location, ranges)
        for facts, rows in zip(batches, read, strict=True):
            if rows is not None:
                yield segment.place(facts), rows.scope_prefixes

    def _read(
        self, places: dict[Place, list[int]], wanted: KeyArray
    ) -> Iterator[tuple[Saved, StoredAnswer]]:
        by_segment: dict[str, list[Place]] = {}
        for place in places:
            by_segment.setdefault(place.segment, []).append(place)
        for name, batches in by_segment.items():
            ranges = [(place.offset, place.size) for place in batches]
            read = read_batches(self._folder.child(name), ranges)
            for place, rows in zip(batches, read, strict=True):
                if rows is not None:
                    yield from rows.find_scopes(wanted[places[place]], self._before_us)
