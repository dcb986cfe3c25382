"""Decide where one part ends and the next begins: a function of the input alone.

It depends on no batch size, answer, crash or concurrency, so a resumed job makes the same parts.
"""

from collections.abc import Iterable

from msgspec import Struct

from pipeline.core.groups import GroupOutput
from pipeline.output.part_info import PartInfo


class PartLimits(Struct, frozen=True):
    """Limits of a part besides its number of groups; changing these changes outputs."""

    max_candidates: int = 500_000
    max_bytes: int = 32 << 20


class PartBorders:
    """Assigns groups to parts, in input order.

    A part ends with the group with which it holds `groups_per_part` groups, 500,000 candidates or
    32 MiB of passed-through strings (texts included, with `--with-text`).

    Args:
        groups_per_part: The most groups in a part.
        finished: Parts whose groups are left out.
        limits: The most candidates and bytes.
    """

    def __init__(
        self,
        groups_per_part: int,
        finished: Iterable[PartInfo] = (),
        *,
        limits: PartLimits | None = None,
    ) -> None:
        self._groups_per_part = groups_per_part
        self._limits = limits or PartLimits()
        # An unfinished part begins at 0 or where a finished one ends.
        self._index_at = {0: 0} | {part.stop_group: part.index + 1 for part in finished}
        self._index = -1
        self._groups = self._candidates = self._bytes = 0

    def place(self, group: GroupOutput) -> tuple[int, bool]:
        """Return the index of the group's part, and whether this group ends the part.

        The last part of a dataset ends with its last group, which only the reader knows.
        """
        return self.place_sizes(group.index, group.num_candidates, group.passthrough_bytes)

    def place_sizes(
        self, index: int, num_candidates: int, passthrough_bytes: int
    ) -> tuple[int, bool]:
        """Do the same as `place`, for a group given by its index and sizes."""
        if not self._groups:
            self._index = self._index_at.get(index, self._index + 1)
        self._groups += 1
        self._candidates += num_candidates
        self._bytes += passthrough_bytes
        ends = (
            self._groups >= self._groups_per_part
            or self._candidates >= self._limits.max_candidates
            or self._bytes >= self._limits.max_bytes
        )
        if ends:
            self._groups = self._candidates = self._bytes = 0
        return self._index, ends
