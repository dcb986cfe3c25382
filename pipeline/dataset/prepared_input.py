"""An input that is prepared in a folder of the output, and kept there until the output is done.

It is used again if it was completed from the same input; else it is prepared anew.
"""

import logging
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from pipeline.core.errors import InputError
from pipeline.core.events import log_event
from pipeline.core.settings import RunSettings, fingerprint
from pipeline.dataset.sources import open_source
from pipeline.output.differences import FileFacts
from pipeline.output.prepared_record import (
    PreparedRecord,
    prepared_folder,
    read_prepared_record,
    remove_prepared_record,
    write_prepared_record,
)
from pipeline.source.batch_reader import BatchLimits
from pipeline.source.listing import list_input
from pipeline.source.source import Source
from pipeline.storage.location import Location
from pipeline.storage.patient_reads import PatientReads

if TYPE_CHECKING:
    from pipeline.source.prepare.prepare import Preparer

log = logging.getLogger(__name__)

PREPARED_NAME: Final = "candidates.parquet"
_SPOOL: Final = "spool-"


class PreparedInput:
    """An input that must be prepared.

    Args:
        preparer: Prepares it.
        output: The output that it is for; for `open` its lock must be held.
        settings: How to read it.
        limits: How much is decoded at once.
        reads: Insists on reading what is ready from an object store; by default nothing does.
    """

    def __init__(
        self,
        preparer: "Preparer",
        output: Location,
        settings: RunSettings,
        limits: BatchLimits | None = None,
        reads: PatientReads | None = None,
    ) -> None:
        self.facts = preparer.facts()
        self._reads = reads
        self._preparer = preparer
        self._output = output
        self._folder = prepared_folder(output)
        self._settings = settings
        self._limits = limits
        self._fingerprint = fingerprint(
            {
                "input": self.facts,
                "preparation": settings.preparation.output_settings(),
                "queries": settings.preparation.queries is not None,
                "corpus": settings.preparation.corpus is not None,
                "columns": dict(settings.columns),
                "layout": settings.layout,
                "limit": settings.limit,
            }
        )

    @property
    def num_rows(self) -> int | None:
        """The rows that the input has once it is ready; None if it never was."""
        record = self._read_record()
        return None if record is None else record.num_rows

    @property
    def num_candidates(self) -> int | None:
        """The candidates of an input with a row per candidate; None if not known yet."""
        record = self._read_record()
        return record.num_rows if record is not None and record.layout == "long" else None

    def open(self, check: Callable[[], None]) -> Source:
        """Return the input; prepare it first if that is not done.

        Args:
            check: Called often; what it raises ends the work.

        Raises:
            InputError: if it cannot be read or understood.
            OutputFailed: if it cannot be written.
        """
        record = self._read_record()
        source = None if record is None else self._reopen(record)
        if source is not None:
            return source
        self._make(check)
        record = self._read_record()
        source = None if record is None else self._reopen(record)
        if source is None:
            raise InputError("the prepared file is gone", which=self._folder.name)
        return source

    def discard(self) -> None:
        """Remove the prepared file, and keep its record.

        Raises:
            OutputFailed: if it cannot be removed.
        """
        self._folder.child(PREPARED_NAME).remove()

    def _make(self, check: Callable[[], None]) -> None:
        began = time.monotonic()
        for info in self._folder.children():  # what killed runs have left
            if info.base_name.startswith(_SPOOL):
                self._folder.child(info.base_name).remove()
        self._folder.remove_unfinished()
        remove_prepared_record(self._output)
        file = self._folder.child(PREPARED_NAME)
        with self._spool() as spool, file.writing() as stream:
            prepared = self._preparer.write(stream, spool, check=check)
        written = list_input(file.name)
        source = self._source(prepared.layout, prepared.columns)
        record = PreparedRecord(
            fingerprint=self._fingerprint,
            layout=prepared.layout,
            columns=dict(prepared.columns),
            num_rows=source.num_rows,
            facts=msgspec.convert(written.facts()[0], FileFacts),
        )
        write_prepared_record(self._output, record)
        seconds = round(time.monotonic() - began, 1)
        log_event(log, logging.INFO, "input.prepared", rows=source.num_rows, seconds=seconds)

    @contextmanager
    def _spool(self) -> Iterator[Path]:
        """Yield an empty folder on this machine: where the output is, if that is local."""
        if not self._folder.is_local:
            with tempfile.TemporaryDirectory() as scratch:
                yield Path(scratch)
            return
        self._folder.make_folder()
        folder = Path(self._folder.child(_SPOOL + uuid.uuid4().hex[:8]).path)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _read_record(self) -> PreparedRecord | None:
        record = read_prepared_record(self._output)
        return record if record is not None and record.fingerprint == self._fingerprint else None

    def _reopen(self, record: PreparedRecord) -> Source | None:
        """Return the prepared file; None if it is gone or has changed."""
        if not self._folder.child(PREPARED_NAME).exists():
            return None
        try:
            source = self._source(record.layout, record.columns)
        except InputError:  # damaged: made anew
            return None
        found = msgspec.convert(source.listing.facts(), list[FileFacts])
        return source if found == [record.facts] else None

    def _source(self, layout: str, columns: Mapping[str, str]) -> Source:
        name = self._folder.child(PREPARED_NAME).name
        return open_source(
            name,
            self._settings,
            self._limits,
            layout=layout,
            columns=columns,
            reads=self._reads,
        )
