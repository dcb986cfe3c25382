"""Parquet out: the parts of an output, each written whole; its presence is its commit."""

from collections.abc import Iterable

import pyarrow as pa

from pipeline.core.errors import RerankError
from pipeline.core.records import Ranking
from pipeline.output.layout import GROUPS_FOLDER, REJECTS_FOLDER, SUCCESS_NAME, part_name
from pipeline.output.part_encoding import PartEncoding
from pipeline.output.part_info import PartInfo, part_sizes, read_part_infos
from pipeline.output.pieces import PieceLimits
from pipeline.storage.location import Location


class Sink:
    """Writes the parts of one output and marks it as finished. All methods but `encode` block.

    Equal rankings give equal bytes: no file depends on the clock, the machine or the run. Parts
    may be written in parallel and in any order; one part is written by one caller at a time.

    Args:
        output: The output folder.
        output_schema: The columns of a part, as the source gives them.
        fingerprint: Of the settings and the input; parts of others count as absent.
        top_n: How many candidates of a group are written; None is all.
        piece_limits: When a row group ends.
    """

    def __init__(
        self,
        output: Location,
        output_schema: pa.Schema,
        *,
        fingerprint: str,
        top_n: int | None = None,
        piece_limits: PieceLimits | None = None,
    ) -> None:
        self._output = output
        self._schema = output_schema
        self._fingerprint = fingerprint
        self._top_n = top_n
        self._piece_limits = piece_limits or PieceLimits()
        self._success = output.child(SUCCESS_NAME)

    def with_schema(self, output_schema: pa.Schema) -> "Sink":
        """Return a sink of the same output for parts of these columns."""
        return Sink(
            self._output,
            output_schema,
            fingerprint=self._fingerprint,
            top_n=self._top_n,
            piece_limits=self._piece_limits,
        )

    def read_part_infos(self) -> dict[int, PartInfo]:
        """Return the parts that need not be written again, by index in ascending order."""
        return read_part_infos(self._output, self._fingerprint)

    def is_finished(self) -> bool:
        """Return whether `_SUCCESS` exists: a run wrote every part, with few enough rejects."""
        return self._success.exists()

    def encode(self, index: int) -> PartEncoding:
        """Return the files of one part, of which nothing is encoded yet."""
        return PartEncoding(
            index,
            self._schema,
            fingerprint=self._fingerprint,
            top_n=self._top_n,
            piece_limits=self._piece_limits,
        )

    def publish(self, part: PartEncoding) -> PartInfo:
        """Commit one part.

        The old file of a part is removed first and the new one written last, so that no part is
        ever found beside the groups or rejects of another. `_SUCCESS` is removed too.

        Raises:
            OutputFailed: if a file cannot be written; the part is then absent.
        """
        candidates, groups, rejects = self._files(part.info.index)
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
        """Encode one part, of which all rankings are given in input order, and commit it."""
        encoding = self.encode(index)
        for ranking in rankings:
            encoding.pieces.add(ranking)
        while (piece := encoding.pieces.take(at_end=True)) is not None:
            encoding.encode(piece.rankings)
        encoding.finish()
        return self.publish(encoding)

    def finish(self, num_parts: int, *, complete: bool = True) -> None:
        """Keep exactly the parts 0 to `num_parts` - 1, and mark a complete output as such.

        An input without rows gets one part without rows, which gives readers the columns.

        Args:
            num_parts: How many parts the output has; all are written.
            complete: Whether few enough candidates were rejected; then `_SUCCESS` is written,
                after everything else.

        Raises:
            OutputFailed: if something cannot be removed or written.
            RerankError: if a part is no longer there.
        """
        if num_parts == 0:
            self.write_part(0, [])
        folders = (
            self._output,
            self._output.child(GROUPS_FOLDER),
            self._output.child(REJECTS_FOLDER),
        )
        wanted = range(max(num_parts, 1))
        for folder in folders:
            found = part_sizes(folder)
            for index in found:
                if index not in wanted:
                    folder.child(part_name(index)).remove()
            lost = [index for index in wanted if index not in found]
            if lost and folder is not folders[-1]:  # a part may have no rejects
                self._success.remove()
                raise RerankError(
                    f"{folder.child(part_name(lost[0])).name}: was removed while the run was going",
                    cure="run the same command again, into a new OUTPUT if nothing is left of this",
                )
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
