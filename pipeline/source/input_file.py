"""One file of the input, which must not change after the input was listed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pyarrow as pa
from msgspec import Struct

from pipeline.core.errors import InputError
from pipeline.source.arrow import Scalar
from pipeline.source.parquet_file import (
    FileState,
    OpenParquet,
    changed,
    open_parquet,
    translate_errors,
)
from pipeline.storage.location import Location


class InputFile(Struct, frozen=True, eq=False):
    """One Parquet file of the input, as it was listed.

    Attributes:
        path: Its path below the input, the same wherever the input lies.
        location: Where it lies.
        state: Its size, version and footer; every later read must find the same.
        num_rows: Its rows, from the footer.
        schema: Its columns, those of its `key=value` folders last.
        constants: The values of these folders, by column.
    """

    path: str
    location: Location
    state: FileState
    num_rows: int
    schema: pa.Schema
    constants: Mapping[str, Scalar]

    def facts(self) -> dict[str, str | int]:
        """Return what identifies the file in the manifest."""
        return {
            "path": self.path,
            "size_bytes": self.state.info.size_bytes or 0,
            "num_rows": self.num_rows,
            "footer_digest": self.state.footer_digest,
        }

    @contextmanager
    def open(self) -> Iterator[OpenParquet]:
        """Open the file for its rows.

        Raises:
            InputError: if it has changed since the listing, or as `open_parquet` does.
        """
        try:
            with open_parquet(self.location, for_rows=True) as opened:
                self._compare(opened)
                yield opened
                opened.refuse_changes()
        except InputError:
            # If the file was written to, report that, not the damage that was read.
            self.refuse_changes()
            raise

    def refuse_changes(self) -> None:
        """Compare the file, its footer included, with its state at the listing.

        Raises:
            InputError: if it has changed, is gone, or cannot be read.
        """
        listed = self.state.info
        with translate_errors(self.location):
            info = self.location.files.info(self.location.path)
            if info is None:
                raise FileNotFoundError(self.location.path)
        if not info.is_same_state(listed):
            raise changed(self.location, info, listed)
        if listed.version is None:  # else equal versions are equal bytes
            with open_parquet(self.location, for_rows=False) as opened:
                self._compare(opened)

    def _compare(self, opened: OpenParquet) -> None:
        if not opened.state.is_same(self.state):
            raise changed(self.location, opened.state.info, self.state.info)
