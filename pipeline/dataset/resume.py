"""The state that earlier runs left an output in: finished parts, and whether any are missing."""

from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa
from msgspec import Struct
from msgspec.structs import replace

from pipeline.core.errors import OutputFailed
from pipeline.core.settings import RunSettings
from pipeline.dataset.shard_work import ShardWork
from pipeline.output.layout import SCORES_FOLDER, SHARDS_NAME
from pipeline.output.manifest import check_or_create
from pipeline.output.part_info import PartInfo
from pipeline.output.sink import Sink
from pipeline.score_store.listing import list_segments
from pipeline.source.source import Source
from pipeline.storage.location import Location


class OpenedOutput(Struct, frozen=True, eq=False):
    """An output that this run holds, as it is before the run adds to it.

    Attributes:
        sink: Writes its parts.
        begun_us: When it was begun, in microseconds since 1970; the same for every run on it.
        parts: The parts that are written, by index.
        fingerprint: Of settings and input.
        num_input_rows: Rows of the input; None while the input is not open.
        work: The share of it that this run writes; None for all of it.
    """

    sink: Sink
    begun_us: int
    parts: Mapping[int, PartInfo]
    fingerprint: str
    num_input_rows: int | None = None
    work: ShardWork | None = None

    def with_input(self, source: Source) -> "OpenedOutput":
        """Return the output once its input is open."""
        return replace(
            self,
            sink=self.sink.with_schema(source.output_schema),
            num_input_rows=source.num_rows,
        )

    def of_shard(self, work: ShardWork | None) -> "OpenedOutput":
        """Return the share of the output that a shard has; with None all of it."""
        if work is None:
            return self
        parts = {index: part for index, part in self.parts.items() if index in work.mine}
        return replace(self, parts=parts, work=work)

    def is_done(self, max_rejects: int) -> bool:
        """Return whether there is nothing to do; an earlier run may have allowed more rejects."""
        rejected = sum(part.num_rejected for part in self.parts.values())
        return (
            rejected <= max_rejects
            and self.sink.is_finished()
            and _cover_input(self.parts.values(), self.num_input_rows)
        )

    def parts_without_rejects(self) -> dict[int, PartInfo]:
        """Return the parts that need not be written again."""
        return {index: part for index, part in self.parts.items() if not part.num_rejected}

    def finish(self, parts: Mapping[int, PartInfo], *, complete: bool) -> None:
        """Keep exactly these parts, all of which are written.

        Args:
            parts: All parts of the output, by index.
            complete: Whether few enough candidates were rejected; then it is marked as done.

        Raises:
            OutputFailed: if the parts leave out rows of the input, or if a file cannot be written.
        """
        if self.work is not None:
            self._finish_shard(parts, self.work)
        elif _cover_input(parts.values(), self.num_input_rows):
            self.sink.finish(len(parts), complete=complete)
        else:
            raise OutputFailed(
                "the parts do not hold every row of the input",
                found=sum(part.num_rows for part in parts.values()),
                expected=f"{self.num_input_rows} rows, one part after the other",
                cure="please report this: the output is not marked as done",
            )

    def _finish_shard(self, parts: Mapping[int, PartInfo], work: ShardWork) -> None:
        """Leave the parts of other shards alone: `rerank commit` checks all of them."""
        rows = sum(part.num_rows for part in parts.values())
        if sorted(parts) != [*work.mine] or rows != work.num_rows:
            raise OutputFailed(
                "the parts do not hold every row of the shard",
                found=f"{len(parts)} parts, {rows} rows",
                expected=f"{len(work.mine)} parts, {work.num_rows} rows",
                cure="please report this",
            )
        if work.writes_empty:
            self.sink.write_part(0, [])


def open_output(
    output: Location, settings: RunSettings, facts: Sequence[Mapping[str, str | int]]
) -> OpenedOutput:
    """Open an output, or begin it if it is new; to be called while its lock is held.

    Args:
        output: The output.
        settings: What changes it.
        facts: Values that identify each file of the input.

    Raises:
        OutputMismatch: if it belongs to other settings or input, or is not an output of this job.
        OutputFailed: if it cannot be read or written.
    """
    is_shard = settings.shard is not None
    manifest = check_or_create(
        output,
        settings.output_settings(),
        facts,
        restart=settings.restart,
        has_answers=lambda: is_shard or bool(list_segments(output.child(SCORES_FOLDER))),
        is_shared=is_shard,
    )
    if not is_shard:
        output.child(SHARDS_NAME).remove()
    sink = Sink(output, pa.schema([]), fingerprint=manifest.fingerprint, top_n=settings.top_n)
    return OpenedOutput(sink, manifest.begun_us, sink.read_part_infos(), manifest.fingerprint)


def _cover_input(parts: Collection[PartInfo], num_rows: int | None) -> bool:
    """Return whether the parts hold all rows of the input, one part after the other."""
    row = 0
    for index, part in enumerate(sorted(parts, key=lambda part: part.index)):
        if (part.index, part.first_row) != (index, row):
            return False
        row = part.stop_row
    return row == num_rows
