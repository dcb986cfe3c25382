"""Parquet out: the parts of an output, each written whole, its presence its commit."""

from collections.abc import Iterable

import pyarrow as pa

from pipeline.core.records import Ranking
from pipeline.output.part_borders import PartBorders
from pipeline.output.part_encoding import PartEncoding
from pipeline.output.part_info import (
    GROUPS_FOLDER,
    REJECTS_FOLDER,
    PartInfo,
    part_name,
    part_sizes,
    read_part_infos,
)
from pipeline.storage.location import Location

__all__ = ["PartBorders", "PartInfo", "Sink", "read_part_infos"]

SUCCESS_NAME = "_SUCCESS"


class Sink:
    """Writes the parts of one output, and marks it as finished. All methods but `encode` block.

    Same rankings, same bytes: nothing of the clock, the machine or the run is in a file. Parts
    may be written at once and in any order; one part is written by one caller at a time.

    Args:
        output: The output's folder.
        output_schema: The columns of a part, as the source says.
        fingerprint: Of the settings and the input; parts of others count as absent.
        top_n: How many candidates of a group are written; None is all.
    """

    def __init__(
        self,
        output: Location,
        output_schema: pa.Schema,
        *,
        fingerprint: str,
        top_n: int | None = None,
    ) -> None:
        self._output = output
        self._schema = output_schema
        self._fingerprint = fingerprint
        self._top_n = top_n
        self._success = output.child(SUCCESS_NAME)

    def read_part_infos(self) -> dict[int, PartInfo]:
        """The parts that need not be written again, by index in ascending order."""
        return read_part_infos(self._output, self._fingerprint)

    def is_finished(self) -> bool:
        """`_SUCCESS` is there: every part is, and every candidate is scored or skipped."""
        return self._success.exists()

    def encode(self, index: int, rankings: Iterable[Ranking]) -> PartEncoding:
        """The files of one part, of its groups' rankings in input order; yet to be encoded."""
        return PartEncoding(
            index, rankings, self._schema, fingerprint=self._fingerprint, top_n=self._top_n
        )

    def publish(self, part: PartEncoding) -> PartInfo:
        """Commit one part.

        Of a part that is written anew the old file goes first and the new one comes last, so
        that no part ever stands beside the groups or rejects of another. `_SUCCESS` goes too.

        Raises:
            OutputFailed: if a file cannot be written; the part is then absent.
        """
        candidates, groups, rejects = self._files(part.index)
        self._success.remove()
        candidates.remove()
        groups.publish(part.groups)
        if part.rejects:
            rejects.publish(part.rejects)
        else:
            rejects.remove()
        candidates.publish(part.part)
        return part.info

    def write_part(self, index: int, rankings: Iterable[Ranking]) -> PartInfo:
        """Encode one part and commit it."""
        encoding = self.encode(index, rankings)
        for _ in encoding.steps():
            pass
        return self.publish(encoding)

    def finish(self, num_parts: int, *, complete: bool = True) -> None:
        """Leave exactly the parts 0 to `num_parts` - 1, and mark a complete output as such.

        An input without rows leaves one part without rows, which tells readers the columns.

        Args:
            num_parts: How many parts the output has; all are written.
            complete: Every candidate is scored or skipped, so `_SUCCESS` is written, last of all.

        Raises:
            OutputFailed: if something cannot be removed or written.
        """
        if num_parts == 0:
            self.write_part(0, [])
        folders = (
            self._output,
            self._output.child(GROUPS_FOLDER),
            self._output.child(REJECTS_FOLDER),
        )
        for folder in folders:
            for index in part_sizes(folder):
                if index >= max(num_parts, 1):
                    folder.child(part_name(index)).remove()
        if complete:
            self._success.publish(b"")
        else:
            self._success.remove()

    def _files(self, index: int) -> tuple[Location, Location, Location]:
        name = part_name(index)
        return (
            self._output.child(name),
            self._output.child(GROUPS_FOLDER, name),
            self._output.child(REJECTS_FOLDER, name),
        )
