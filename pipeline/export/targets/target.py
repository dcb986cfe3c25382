"""The interface of a system that results are loaded into: the seam between parts and its rows."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol, TypeAlias

import pyarrow as pa
from msgspec import Struct

from pipeline.core.errors import SettingsError

Mode: TypeAlias = Literal["upsert", "replace"]
"""`replace` also removes rows of reloaded queries that are gone."""


class ServerDown(Exception):
    """The server could not be reached, was lost, or is too busy: another attempt may succeed."""


class TargetTable(Struct, frozen=True, kw_only=True):
    """The table to load into.

    Attributes:
        name: Name of the table or index.
        columns: Columns of the rows.
        key: The columns that identify a row: the partition key in a backfill, query_id, doc_id.
        mode: Whether rows that are gone are removed.
    """

    name: str
    columns: pa.Schema
    key: Sequence[str]
    mode: Mode


class State(Struct, frozen=True):
    """The table as it is before a load.

    Attributes:
        identity: Identifies this table: another one of the same name has another identity.
        num_rows: How many rows it has; None if that is not known.
    """

    identity: str
    num_rows: int | None = None


class Target(Protocol):
    """A system to load into. All methods block; any of them may raise ServerDown.

    Raises:
        ServiceRefused: by any method, if the server refuses for good.
    """

    def connected(self) -> AbstractContextManager[None]:
        """Hold a connection while the body runs."""

    def prepare(self, table: TargetTable) -> State:
        """Make the table if it is missing, else check it.

        Raises:
            OutputMismatch: if the table has other columns.
        """

    def load(self, table: TargetTable, rows: Iterable[pa.Table]) -> int:
        """Load a part: all of its rows or, where there are transactions, none.

        May be called again with the same rows. Returns how many rows were left out, since their
        doc_id occurs at a better place of the query.
        """


def missing_extra(name: str) -> SettingsError:
    """Return the error that tells how to install what a target needs."""
    return SettingsError(
        f"needs the extra `{name}`",
        which="--to",
        cure=f"pip install 'rerank-pipeline[{name}]'",
    )
