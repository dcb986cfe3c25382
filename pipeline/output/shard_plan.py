"""The plan that the shards of an output share: its parts, and which shard writes them.

`_shards.json` exists from the first shard's start until the commit. Where parts end is a function
of the input alone (`PartBorders`), but of all of it, so one shard computes the plan and the others
read it.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

import msgspec
from msgspec import Struct

from pipeline.core.shard import Shard
from pipeline.output.layout import SHARDS_NAME
from pipeline.output.part_info import PartInfo
from pipeline.storage.location import Location


class PlannedPart(Struct, frozen=True, array_like=True):
    """The groups and the input rows that a part will hold."""

    first_group: int
    num_groups: int
    first_row: int
    num_rows: int

    @property
    def stop_row(self) -> int:
        """The first input row after the part."""
        return self.first_row + self.num_rows


class ShardPlan(Struct, frozen=True, kw_only=True):
    """All parts of an output, in order.

    Attributes:
        fingerprint: Of the settings and the input that they follow from.
        count: How many shards there were when it was written; `status` shows it.
    """

    fingerprint: str
    count: int
    parts: list[PlannedPart]

    @property
    def num_groups(self) -> int:
        """Queries of the input."""
        return sum(part.num_groups for part in self.parts)

    def range_of(self, shard: Shard) -> range:
        """Return the parts of a shard: neighbours, with about as many rows as any other's.

        All shards together have every part once. With more shards than parts, some have none.
        """
        owners = [self._owner(part, shard.count) for part in self.parts]
        starts = {owner: len(list(those)) for owner, those in groupby(owners)}
        first = sum(number for owner, number in starts.items() if owner < shard.index)
        return range(first, first + starts.get(shard.index, 0))

    def owner(self, index: int, count: int) -> Shard:
        """Return which of `count` shards writes a part."""
        return Shard(self._owner(self.parts[index], count), count)

    def infos(self, indices: Iterable[int]) -> list[PartInfo]:
        """Return some of the parts as `PartInfo`, as if another run had written them."""
        return [
            PartInfo(
                index=index,
                fingerprint=self.fingerprint,
                first_group=self.parts[index].first_group,
                num_groups=self.parts[index].num_groups,
                first_row=self.parts[index].first_row,
                num_rows=self.parts[index].num_rows,
            )
            for index in indices
        ]

    def missing(self, written: Sequence[PartInfo]) -> list[int]:
        """Return the parts that are not written as planned."""
        found = {part.index: part for part in written}
        return [
            planned.index
            for planned in self.infos(range(len(self.parts)))
            if (part := found.get(planned.index)) is None
            or (part.first_group, part.num_groups, part.first_row, part.num_rows)
            != (planned.first_group, planned.num_groups, planned.first_row, planned.num_rows)
        ]

    def _owner(self, part: PlannedPart, count: int) -> int:
        """Return the number of the shard that holds the middle of a part."""
        total = self.parts[-1].stop_row
        return (2 * part.first_row + part.num_rows - 1) * count // (2 * total) + 1 if total else 1


def read_shard_plan(output: Location, fingerprint: str) -> ShardPlan | None:
    """Return the plan of an output's shards; None if there is none with this fingerprint.

    Raises:
        OutputFailed: if it cannot be read.
    """
    content = output.child(SHARDS_NAME).read()
    try:
        plan = None if content is None else msgspec.json.decode(content, type=ShardPlan)
    except msgspec.MsgspecError:  # damaged: it is computed anew
        return None
    return plan if plan is not None and plan.fingerprint == fingerprint else None


def write_shard_plan(output: Location, plan: ShardPlan) -> None:
    """Write the plan for the other shards.

    Raises:
        OutputFailed: if it cannot be written.
    """
    output.child(SHARDS_NAME).publish(msgspec.json.encode(plan))
