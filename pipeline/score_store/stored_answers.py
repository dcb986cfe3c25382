"""The answers in a store's segments, found by their key."""

import logging
from collections.abc import Mapping, Sequence

from pipeline.core.events import log_event
from pipeline.core.records import Scores
from pipeline.score_store.key_index import KeyIndex, Place
from pipeline.score_store.listing import iter_segments, read_listed
from pipeline.score_store.rows import Rows, Saved, prefixes
from pipeline.score_store.segment_index import BatchFacts
from pipeline.score_store.segments import read_batches
from pipeline.storage.location import Location

_log = logging.getLogger(__name__)


class StoredAnswers:
    """Answers that were stored when the segments were listed, and those added since.

    Batches are added on the event loop while others are read in threads. So `find` must be called
    on the loop, and `read`, which does not look at the index, in a thread.

    Args:
        folder: The store.
    """

    def __init__(self, folder: Location) -> None:
        self._folder = folder
        self._index = KeyIndex()
        self._damaged: set[str] = set()

    def refresh(self) -> None:
        """List the segments, and read the places of the answers; blocks.

        Raises:
            OutputFailed: if the store exists and cannot be read.
        """
        self._index = read_listed(self._folder, self._read_index)

    def add(self, place: Place, facts: BatchFacts) -> None:
        """Add a batch that was written since."""
        self._index.add(place, prefixes(facts.keys))

    def find(self, keys: Sequence[bytes]) -> dict[Place, list[int]]:
        """Return the batches that may hold some of these keys, and which; `read` verifies them."""
        return self._index.find(prefixes(b"".join(keys)))

    def read(self, keys: Sequence[bytes], places: Mapping[Place, list[int]]) -> dict[bytes, Scores]:
        """Return the answers among these keys, in their order; blocks.

        Of an answer that is stored twice, the first one saved counts.

        Args:
            keys: Keys of requests.
            places: What `find` returned for them.

        Raises:
            FileNotFoundError: if a segment is gone; see `listing.read_listed`.
            OutputFailed: if the store cannot be read.
        """
        wanted = prefixes(b"".join(keys))
        by_segment: dict[str, list[Place]] = {}
        for place in sorted(places):
            by_segment.setdefault(place.segment, []).append(place)
        found: dict[bytes, tuple[Saved, Scores]] = {}
        for name, batches in by_segment.items():
            ranges = [(place.offset, place.size) for place in batches]
            read = read_batches(self._folder.child(name), ranges)
            for place, rows in zip(batches, read, strict=True):
                positions = places[place]
                for key, saved, scores in rows.find(wanted[positions]) if rows is not None else ():
                    if key not in found or saved < found[key][0]:
                        found[key] = saved, scores
                if not all(keys[position] in found for position in positions):
                    self._check(name, rows)
        return {key: found[key][1] for key in keys if key in found}

    def _read_index(self) -> KeyIndex:
        index = KeyIndex()
        for segment in iter_segments(self._folder):
            if segment.damaged:
                self._warn_of_damage(segment.name)
            for facts in segment.batches:
                index.add(segment.place(facts), prefixes(facts.keys))
        return index

    def _check(self, segment: str, rows: Rows | None) -> None:
        """Warn if a batch that lacks a key is damaged; another key may have the same prefix."""
        if rows is None or not rows.verified().all():
            self._warn_of_damage(segment)

    def _warn_of_damage(self, segment: str) -> None:
        """Warn once of a segment; what cannot be read in it is requested again."""
        if segment not in self._damaged:
            self._damaged.add(segment)
            name = self._folder.child(segment).name
            log_event(_log, logging.WARNING, "score_store.damaged", segment=name)
