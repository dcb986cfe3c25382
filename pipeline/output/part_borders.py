"""Where one part ends and the next begins: a function of the input alone.

Not of batch sizes, answers, crashes or concurrency: so a resumed job cuts the same parts.
"""

from collections.abc import Iterable

from pipeline.core.groups import GroupRows
from pipeline.output.part_info import PartInfo

MAX_CANDIDATES = 500_000
MAX_BYTES = 64 << 20


class PartBorders:
    """Says to which part each group belongs, in input order.

    A part ends with the group with which it holds `groups_per_part` groups, 500,000 candidates or
    64 MiB of passed-through strings (texts included, with `--with-text`).

    Args:
        groups_per_part: At most so many groups in a part.
        finished: Parts whose groups are left out.
    """

    def __init__(self, groups_per_part: int, finished: Iterable[PartInfo] = ()) -> None:
        self._groups_per_part = groups_per_part
        # A part that is not finished begins at 0 or where a finished one ends.
        self._index_at = {0: 0} | {part.stop_group: part.index + 1 for part in finished}
        self._index = -1
        self._groups = self._candidates = self._bytes = 0

    def place(self, group: GroupRows) -> tuple[int, bool]:
        """The index of the group's part, and whether this group ends it.

        The last part of a dataset ends with its last group, which only the reader knows.
        """
        if not self._groups:
            self._index = self._index_at.get(group.index, self._index + 1)
        self._groups += 1
        self._candidates += group.num_candidates
        self._bytes += group.passthrough_bytes
        ends = (
            self._groups >= self._groups_per_part
            or self._candidates >= MAX_CANDIDATES
            or self._bytes >= MAX_BYTES
        )
        if ends:
            self._groups = self._candidates = self._bytes = 0
        return self._index, ends
