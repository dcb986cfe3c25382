"""Read a written output: its manifest, its committed parts and their rows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from pipeline.core.errors import InputError, OutputFailed, shorten
from pipeline.output.layout import GROUPS_FOLDER, SUCCESS_NAME, part_name
from pipeline.output.manifest import Manifest, read_manifest
from pipeline.output.part_info import PartInfo, read_part_infos
from pipeline.storage.errors import explain
from pipeline.storage.location import Location, locate

if TYPE_CHECKING:
    import polars as pl


class WrittenOutput(Struct, frozen=True):
    """An output as it is stored now.

    Attributes:
        parts: The committed parts, by index.
        is_finished: Whether `_SUCCESS` exists and no part is missing between others.
    """

    location: Location
    manifest: Manifest
    parts: tuple[PartInfo, ...]
    is_finished: bool

    def iter_parts(self, columns: Sequence[str]) -> Iterator["pl.DataFrame"]:
        """Yield these columns of each part, in order; see `read_part`."""
        for at in range(len(self.parts)):
            yield self.read_part(at, columns)

    def read_part(self, at: int, columns: Sequence[str]) -> "pl.DataFrame":
        """Read these columns of the part `parts[at]`, which holds all rows of its queries.

        Raises:
            InputError: if the part cannot be read.
        """
        return _read(self.location.child(part_name(self.parts[at].index)), columns)

    def is_cut(self) -> bool:
        """Return whether `--top-n` left out candidates of any query.

        Raises:
            InputError: if `_groups` cannot be read.
        """
        top_n = self.manifest.settings.get("top_n")
        if top_n is None:
            return False
        for part in self.parts:
            file = self.location.child(GROUPS_FOLDER, part_name(part.index))
            sizes = _read(file, ["num_candidates"])
            if (sizes["num_candidates"] > top_n).any():
                return True
        return False


def open_output(name: str) -> WrittenOutput:
    """Open the output of a run, finished or not.

    Raises:
        InputError: if there is none, or if it cannot be read.
        OutputMismatch: if its manifest is damaged or of a newer format.
    """
    if not name:
        raise InputError("no folder is named", which="OUTPUT")
    location = locate(name)
    try:
        manifest = read_manifest(location)
        if manifest is None:
            what = "not an output of `rerank run`: it has no _manifest.json"
            raise InputError(
                what if location.exists() else "no such output",
                which=name,
                cure="name the OUTPUT of a run",
            )
        parts = tuple(read_part_infos(location, manifest.fingerprint).values())
        has_success = location.child(SUCCESS_NAME).exists()
    except OutputFailed as error:
        raise InputError(error.what, which=error.which, cure="check who may read it") from error
    return WrittenOutput(location, manifest, parts, has_success and _are_adjacent(parts))


def _are_adjacent(parts: Sequence[PartInfo]) -> bool:
    """Return whether each part begins where the previous one ends."""
    next_group = 0
    for index, part in enumerate(parts):
        if (part.index, part.first_group) != (index, next_group):
            return False
        next_group = part.stop_group
    return True


def _read(file: Location, columns: Sequence[str]) -> "pl.DataFrame":
    import polars as pl  # half of the time that a command takes to start

    with _readable(file), file.open() as stream, pq.ParquetFile(stream) as parquet:
        names = parquet.schema_arrow.names
        if missing := [column for column in columns if column not in names]:
            raise InputError(f"missing columns {missing}", which=file.name, found=names)
        frame = pl.from_arrow(parquet.read(list(columns)))
    assert isinstance(frame, pl.DataFrame)
    return frame.select(columns)


@contextmanager
def _readable(file: Location) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        cause, cure = explain(error) if isinstance(error, OSError) else (str(error), None)
        raise InputError(
            "cannot be read",
            which=file.name,
            found=shorten(cause, 120),
            cure=cure or "if a run is writing the output, wait for its end",
        ) from error
