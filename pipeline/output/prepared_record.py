"""The record of a prepared input: `_prepared/record.json`, which outlives the file itself."""

from typing import Final

import msgspec
from msgspec import Struct

from pipeline.output.differences import FileFacts
from pipeline.output.layout import PREPARED_FOLDER
from pipeline.storage.location import Location

_NAME: Final = "record.json"


class PreparedRecord(Struct, frozen=True, kw_only=True):
    """A prepared input.

    Attributes:
        fingerprint: Of the input's files and of the preparation.
        layout: How to read it.
        columns: The columns that play roles.
        num_rows: Its rows, or with `--limit` those of its first queries.
        facts: What identifies the file.
    """

    fingerprint: str
    layout: str
    columns: dict[str, str]
    num_rows: int
    facts: FileFacts


def prepared_folder(output: Location) -> Location:
    """Return the folder of an output's prepared input."""
    return output.child(PREPARED_FOLDER)


def read_prepared_record(output: Location) -> PreparedRecord | None:
    """Return the record; None if there is none, or if it is damaged.

    Raises:
        OutputFailed: if it cannot be read.
    """
    content = prepared_folder(output).child(_NAME).read()
    try:
        return None if content is None else msgspec.json.decode(content, type=PreparedRecord)
    except msgspec.MsgspecError:
        return None


def write_prepared_record(output: Location, record: PreparedRecord) -> None:
    """Publish the record.

    Raises:
        OutputFailed: if it cannot be written.
    """
    prepared_folder(output).child(_NAME).publish(msgspec.json.encode(record))


def remove_prepared_record(output: Location) -> None:
    """Remove the record, if there is one.

    Raises:
        OutputFailed: if it cannot be removed.
    """
    prepared_folder(output).child(_NAME).remove()
