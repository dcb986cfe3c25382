"""Open the files of an input as a run's settings say."""

from collections.abc import Mapping

from pipeline.core.content import TEXT_ONLY
from pipeline.core.errors import SettingsError
from pipeline.core.settings import RunSettings
from pipeline.service.wire.formats import WIRE_FORMATS
from pipeline.source.batch_reader import BatchLimits
from pipeline.source.listing import list_input
from pipeline.source.source import Source
from pipeline.storage.patient_reads import PatientReads


def open_source(
    listing_name: str,
    settings: RunSettings,
    limits: BatchLimits | None = None,
    *,
    layout: str | None = None,
    columns: Mapping[str, str] | None = None,
    reads: PatientReads | None = None,
) -> Source:
    """Find the files of Parquet candidates and check their columns.

    Args:
        listing_name: What the files are called.
        settings: How to read them.
        limits: How much is decoded at once.
        layout: Another layout than that of the settings.
        columns: Other columns than those of the settings.
        reads: Insists on reading an object store; by default nothing does.

    Raises:
        InputError: if there are none, or if they do not hold candidates.
        SettingsError: if they may hold images or videos, which the endpoint does not take.
    """
    columns = settings.columns if columns is None else columns
    source = Source(
        list_input(listing_name, reads=reads),
        columns=columns,
        layout=layout or settings.layout,
        with_text=settings.with_text,
        duplicates=settings.duplicates,
        max_queries=settings.limit,
        media=settings.profile.is_multimodal,
        limits=limits,
    )
    wire = WIRE_FORMATS[settings.provider.wire_format]
    if source.may_hold_media and wire.takes.accepts == TEXT_ONLY:
        raise SettingsError(
            f"the wire format {wire.name} takes texts alone",
            which="--provider",
            found=settings.provider.name,
            cure="choose dashscope-cn, or leave out the columns of images and videos",
        )
    return source
