"""Lists: the known order of the documents before the final request.

A list is a set of documents with one order, of which the first places are known. At first each home
request orders its documents, so every place is known. After preliminary requests the lists of
several requests are one list, of which the certified places are known.

Invariant: no document of a list precedes its known ones. So if a request holds the first documents
of a list without a gap, and the next one as *witness*, all others of the list rank below it.
"""

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import BoolArray, IntArray
from pipeline.planning.packing import NO_HOME
from pipeline.ranking.merging.first_round import FirstRound


class Lists(Struct, frozen=True, eq=False):
    """The lists of n documents.

    Attributes:
        list_of: The list of each document, int64[n]; `NO_HOME` for a document without a list.
        place: Its place in the list, from 0, int64[n]; n if it is not known.
        known: How many places of each list are known.
        size: How many documents each list has.
    """

    list_of: IntArray
    place: IntArray
    known: IntArray
    size: IntArray

    @classmethod
    def of(cls, first: FirstRound) -> "Lists":
        """Return one list for each request of the first round: its home documents."""
        size = np.bincount(first.home[first.scored], minlength=first.num_requests)
        return cls(first.home, first.rank, size, size)

    @property
    def num_lists(self) -> int:
        """The number of lists."""
        return len(self.size)

    @property
    def is_known(self) -> BoolArray:
        """Whether the place of each document is known, bool[n]."""
        return self.place < len(self.place)

    def close(self, documents: IntArray) -> tuple[IntArray, IntArray]:
        """Extend documents so that they hold the first ones of each list without a gap.

        If the last places of a list are not known, its last known document is left out, since it is
        the only possible witness.

        Args:
            documents: Documents whose places are known.

        Returns:
            The extended documents, and the witnesses: the next document of each list; ascending.
        """
        reach = np.zeros(self.num_lists, dtype=np.int64)
        np.maximum.at(reach, self.list_of[documents], self.place[documents] + 1)
        reach = np.minimum(reach, self.known - (self.known < self.size))
        up_to = reach[self.list_of]  # less than n, the place of a document without a list
        return np.flatnonzero(self.place < up_to), np.flatnonzero(self.place == up_to)

    def take(self, lists: IntArray) -> "Lists":
        """Return these lists alone, renumbered; the documents of the others have no list."""
        number = np.full(self.num_lists + 1, NO_HOME)  # the last one is that of NO_HOME
        number[lists] = np.arange(len(lists))
        list_of = number[self.list_of]
        place = np.where(list_of == NO_HOME, len(self.place), self.place)
        return Lists(list_of, place, self.known[lists], self.size[lists])
