"""Read a written output: its manifest, its committed parts and their rows."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from pipeline.core.errors import InputError, OutputFailed, shorten
from pipeline.output.layout import GROUPS_FOLDER, REJECTS_FOLDER, SUCCESS_NAME, part_name
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
        return _read(self.file_of(self.parts[at]), columns)

    def read_groups(self, part: PartInfo, columns: Sequence[str]) -> "pl.DataFrame":
        """Read these columns of a part's `_groups`: a row per query, in the order of the part.

        Raises:
            InputError: if they cannot be read.
        """
        return _read(self.location.child(GROUPS_FOLDER, part_name(part.index)), columns)

    def read_rejects(self, part: PartInfo, columns: Sequence[str]) -> "pl.DataFrame | None":
        """Read these columns of a part's `_rejects`; None if it has none.

        Raises:
            InputError: if they cannot be read.
        """
        if not part.rejects_bytes:
            return None
        return _read(self.location.child(REJECTS_FOLDER, part_name(part.index)), columns)

    def schema(self) -> pa.Schema:
        """Return the columns of the parts; none if there is no part.

        Raises:
            InputError: if the first part cannot be read.
        """
        if not self.parts:
            return pa.schema([])
        with _open_part(self.file_of(self.parts[0])) as parquet:
            return parquet.schema_arrow.remove_metadata()

    def iter_rows(self, part: PartInfo, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield these columns of a part, some ten thousand rows of whole queries at a time.

        Raises:
            InputError: if the part cannot be read.
        """
        file = self.file_of(part)
        with _open_part(file) as parquet:
            _refuse_missing(columns, parquet.schema_arrow.names, file)
            held: pa.Table | None = None
            for index in range(parquet.num_row_groups):
                with _readable(file):
                    rows = parquet.read_row_group(index, columns=list(columns))
                rows = rows.replace_schema_metadata(None)
                # A query of a million rows takes more than one row group.
                if held is not None and held["query_id"][-1] == rows["query_id"][0]:
                    rows = pa.concat_tables([held, rows])
                elif held is not None:
                    yield held
                held = rows if rows.num_rows else None
            if held is not None:
                yield held

    def file_of(self, part: PartInfo) -> Location:
        """Return the file of a part."""
        return self.location.child(part_name(part.index))

    def is_cut(self) -> bool:
        """Return whether `--top-n` left out candidates of any query.

        Raises:
            InputError: if `_groups` cannot be read.
        """
        top_n = self.manifest.settings.get("top_n")
        if top_n is None:
            return False
        for part in self.parts:
            sizes = self.read_groups(part, ["num_candidates"])
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

    with _open_part(file) as parquet:
        _refuse_missing(columns, parquet.schema_arrow.names, file)
        with _readable(file):
            frame = pl.from_arrow(parquet.read(list(columns)))
    assert isinstance(frame, pl.DataFrame)
    return frame.select(columns)


@contextmanager
def _open_part(file: Location) -> Iterator[pq.ParquetFile]:
    with ExitStack() as opened:
        with _readable(file):
            stream = opened.enter_context(file.open())
            parquet = opened.enter_context(pq.ParquetFile(stream))
        yield parquet


def _refuse_missing(columns: Sequence[str], names: Sequence[str], file: Location) -> None:
    if missing := [column for column in columns if column not in names]:
        raise InputError(f"missing columns {missing}", which=file.name, found=names)


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
