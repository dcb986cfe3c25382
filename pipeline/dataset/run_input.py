"""The input of a run: read as it is, or prepared first; see `prepared_input`."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from pipeline.core.settings import RunSettings
from pipeline.dataset.prepared_input import PreparedInput
from pipeline.dataset.sources import open_source
from pipeline.source.batch_reader import BatchLimits
from pipeline.source.prepare.named_files import format_of
from pipeline.source.source import Source
from pipeline.storage.location import Location, locate
from pipeline.storage.patient_reads import PatientReads

if TYPE_CHECKING:
    from pipeline.source.prepare.prepare import Preparer


def find_preparer(input_name: str, settings: RunSettings) -> "Preparer | None":
    """Return the preparer of an input; None if it can be read as it is.

    Raises:
        InputError: if a file cannot be found.
    """
    preparation = settings.preparation
    is_plain = preparation.is_by_value and not preparation.sort_input
    if is_plain and format_of(input_name)[0] == "parquet":
        return None
    from pipeline.source.prepare.prepare import Preparer  # Polars takes long to import

    preparer = Preparer(
        input_name,
        preparation,
        columns=settings.columns,
        layout=settings.layout,
        max_queries=settings.limit,
        media=settings.profile.is_multimodal,
    )
    return preparer if preparer.is_needed else None


@contextmanager
def opened_input(
    input_name: str, settings: RunSettings
) -> Iterator[tuple[Source, list[dict[str, str | int]]]]:
    """Yield an input and the facts that identify its files; prepare it in a temporary folder.

    Raises:
        InputError: if it cannot be read or understood.
    """
    preparer = find_preparer(input_name, settings)
    if preparer is None:
        source = open_source(input_name, settings)
        yield source, source.listing.facts()
        return
    with tempfile.TemporaryDirectory() as folder:
        made = PreparedInput(preparer, locate(folder), settings)
        yield made.open(lambda: None), made.facts


class RunInput(Protocol):
    """The input of a run, whose files are found.

    Attributes:
        facts: What identifies each file.
    """

    facts: list[dict[str, str | int]]

    @property
    def num_rows(self) -> int | None:
        """How many rows are read; None if that is not known yet."""

    @property
    def num_candidates(self) -> int | None:
        """How many candidates the input has; None if that is not known yet."""

    def open(self, check: Callable[[], None]) -> Source:
        """Return the input, to be read from now on; see `PreparedInput.open`."""

    def discard(self) -> None:
        """Remove prepared files, which are of no use once the output is done."""


def find_input(
    input_name: str,
    output: Location,
    settings: RunSettings,
    limits: BatchLimits | None = None,
    reads: PatientReads | None = None,
) -> RunInput:
    """Find the input of a run.

    Args:
        input_name: What the user called it.
        output: The output of the run, which holds a prepared input.
        settings: Layout, columns and preparation.
        limits: How much is decoded at once.
        reads: Insists on reading an object store while groups are read.

    Raises:
        InputError: if it cannot be found, or if it needs no preparation and is no candidates.
    """
    preparer = find_preparer(input_name, settings)
    if preparer is None:
        return PlainInput(open_source(input_name, settings, limits, reads=reads))
    return PreparedInput(preparer, output, settings, limits, reads)


class PlainInput:
    """An input that is read as it is."""

    def __init__(self, source: Source) -> None:
        self.facts = source.listing.facts()
        self.num_rows: int | None = source.num_rows
        self.num_candidates = source.num_candidates
        self._source = source

    def open(self, _: Callable[[], None]) -> Source:
        """Return the input."""
        return self._source

    def discard(self) -> None:
        """Keep everything."""
