"""Load a result into another system, part by part; parts loaded before are left out."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final, TypeVar

import pyarrow as pa
from msgspec import Struct

from pipeline.core.backoff import Backoff
from pipeline.core.errors import OutageTooLong
from pipeline.core.events import log_event
from pipeline.export.load_record import LoadedPart, LoadRecord
from pipeline.export.result import Piece, Result
from pipeline.export.targets.target import Mode, ServerDown, State, Target, TargetTable
from pipeline.output.part_info import PartInfo
from pipeline.storage.location import locate

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

START_OUTAGE_S: Final = 30.0
"""How long to wait for a server that never answered, in seconds."""


class LoadPatience(Struct, frozen=True, kw_only=True):
    """How long to wait for a server that is down.

    Attributes:
        max_outage_s: Seconds from the first failure.
        at_start_s: The same, before its first answer.
        backoff: Waits between two tries.
        clock: Seconds, never going back.
        sleep: Waits.
    """

    max_outage_s: float = 600.0
    at_start_s: float = START_OUTAGE_S
    backoff: Backoff = Backoff(first_s=0.5, cap_s=10.0)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class LoadSummary(Struct, frozen=True, kw_only=True):
    """The numbers of a load.

    Attributes:
        parts: Parts of the result.
        parts_loaded: Those that this load loaded.
        parts_before: Those that an earlier one had loaded.
        rows: Rows that this load loaded.
        repeated: Rows left out, since their doc_id stands at a better place of the query.
        seconds: How long it took.
        record: The file that records what is loaded.
    """

    parts: int = 0
    parts_loaded: int = 0
    parts_before: int = 0
    rows: int = 0
    repeated: int = 0
    seconds: float = 0.0
    record: str = ""


class Load:
    """One load of a result into a table; to be run once.

    Args:
        result: What to load.
        target: The system.
        to: Its address, which holds no credentials.
        table_name: The table or index.
        mode: Whether rows of reloaded queries that are gone are removed.
        patience: How long a server that is down is waited for.
        check: Called often; raises to end the load.
    """

    def __init__(
        self,
        result: Result,
        target: Target,
        *,
        to: str,
        table_name: str,
        mode: Mode,
        patience: LoadPatience,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._result = result
        self._target = target
        self._to = to
        key = (*([result.key] if result.key else []), "query_id", "doc_id")
        self._table = TargetTable(name=table_name, columns=result.columns(), key=key, mode=mode)
        self._patience = patience
        self._check = check
        self._record = LoadRecord(locate(result.name), to, table_name, mode)
        self._started = time.monotonic()
        self._loaded = self._before = self._rows = self._repeated = 0
        self._connection = ExitStack()
        self._is_connected = False
        self._has_answered = False

    def snapshot(self) -> LoadSummary:
        """Return the numbers as they are now."""
        return LoadSummary(
            parts=sum(len(piece.output.parts) for piece in self._result.pieces),
            parts_loaded=self._loaded,
            parts_before=self._before,
            rows=self._rows,
            repeated=self._repeated,
            seconds=time.monotonic() - self._started,
            record=self._record.name,
        )

    def run(self, on_part: Callable[[LoadSummary], None] = lambda _: None) -> LoadSummary:
        """Load the parts that are not loaded yet.

        Args:
            on_part: Called after each part.

        Raises:
            InputError: if the result cannot be read, or holds what the system refuses.
            OutputMismatch: if the table has other columns.
            ServiceRefused: if the server refuses for good.
            OutageTooLong: if it was down for too long; what was loaded stays, and is recorded.
            OutputFailed: if the system fails otherwise.
        """
        if not len(self._table.columns):
            return self.snapshot()
        with self._connection:
            state = self._insist(self._prepare)
            self._record.open(state.identity, state.num_rows)
            try:
                for piece in self._result.pieces:
                    for part in piece.output.parts:
                        self._load(piece, part)
                        on_part(self.snapshot())
            finally:
                self._record.write()
        return self.snapshot()

    def _prepare(self) -> State:
        return self._target.prepare(self._table)

    def _load(self, piece: Piece, part: PartInfo) -> None:
        file = piece.output.file_of(part)
        info = file.info()
        state = f"{info.size_bytes} {info.version or info.modified}" if info else ""
        folder = f"{piece.partition.folder}/" if piece.partition else ""
        name = folder + file.path.rpartition("/")[2]
        if self._record.holds(name, state):
            self._before += 1
            return
        num_rows, repeated = self._insist(lambda: self._load_rows(piece, part))
        if not self._loaded:  # a search engine makes the index with the first document
            self._record.set_identity(self._insist(self._prepare).identity)
        self._loaded += 1
        self._rows += num_rows
        self._repeated += repeated
        self._record.add(LoadedPart(name, state, num_rows))

    def _load_rows(self, piece: Piece, part: PartInfo) -> tuple[int, int]:
        counted = 0

        def rows() -> Iterator[pa.Table]:
            nonlocal counted
            for batch in piece.iter_rows(part, self._table.columns):
                self._check()
                counted += batch.num_rows
                yield batch

        repeated = self._target.load(self._table, rows())
        return counted - repeated, repeated

    def _insist(self, act: Callable[[], Answer]) -> Answer:
        """Return what `act` returns; connect, and try again, as long as the server is down.

        Raises:
            OutageTooLong: if it was down for too long.
        """
        patience, tries = self._patience, 0
        since: float | None = None
        while True:
            self._check()
            try:
                if not self._is_connected:
                    self._connection.enter_context(self._target.connected())
                    self._is_connected = True
                answer = act()
            except ServerDown as error:
                self._disconnect()
                limit_s = patience.max_outage_s if self._has_answered else patience.at_start_s
                since = patience.clock() if since is None else since
                down_s, wait_s = patience.clock() - since, patience.backoff.wait_s(tries)
                if down_s + wait_s > limit_s:
                    raise OutageTooLong(
                        f"the server was down for {down_s:.0f} s: {error}",
                        which="--to",
                        cure="run the same command again: what is loaded is kept",
                    ) from error
                tries += 1
                wait = round(wait_s, 1)
                log_event(_log, logging.WARNING, "load.retried", error=str(error), wait_s=wait)
                patience.sleep(wait_s)
            else:
                self._has_answered = True
                return answer

    def _disconnect(self) -> None:
        self._is_connected = False
        self._connection.close()
