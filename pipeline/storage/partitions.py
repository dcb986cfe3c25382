"""Hive partitions: the folders `KEY=VALUE/` of a folder."""

from datetime import date
from urllib.parse import unquote

from msgspec import Struct

from pipeline.core.errors import InputError
from pipeline.core.printable import make_printable
from pipeline.storage.location import Location


class Partition(Struct, frozen=True):
    """One folder `KEY=VALUE/`.

    Attributes:
        key: Its key.
        value: Its value, without percent escapes.
        location: The folder.
    """

    key: str
    value: str
    location: Location

    @property
    def folder(self) -> str:
        """The folder's name, as it is written."""
        return self.location.path.rpartition("/")[2]


def list_partitions(root: Location) -> list[Partition]:
    """Return the partitions of a folder, by name; other folders and files are not looked at.

    Raises:
        InputError: if the folders have several keys, if two have one value, or if a name is not
            UTF-8.
        OutputFailed: if the folder cannot be listed.
    """
    found = []
    for info in root.children():
        key, mark, value = info.base_name.partition("=")
        if mark and info.is_folder and not key.startswith(("_", ".")):
            found.append(
                Partition(_unquote(key, root), _unquote(value, root), root.child(info.base_name))
            )
    if len(keys := sorted({partition.key for partition in found})) > 1:
        raise InputError(
            "its folders are partitions of several keys",
            which=root.name,
            found=", ".join(keys),
            expected="KEY=VALUE/ of one key",
            cure="name a folder with one of them",
        )
    folders: dict[str, str] = {}
    for partition in found:  # "ü" is also written "%C3%BC"
        if (other := folders.setdefault(partition.value, partition.folder)) != partition.folder:
            raise InputError(
                "two of its folders have the same value",
                which=root.name,
                found=f"{other}, {partition.folder}",
                expected="one folder for each value",
                cure="move the files of one into the other",
            )
    return found


def parse_date(value: str) -> date:
    """Return a value as a date, whose only form is YYYY-MM-DD.

    Raises:
        ValueError: if it is not a date.
    """
    parsed = date.fromisoformat(value)
    if parsed.isoformat() != value:  # Python takes 20261101 too, which is an integer here
        raise ValueError(value)
    return parsed


def _unquote(text: str, root: Location) -> str:
    try:
        name = unquote(text, errors="strict")
        name.encode()
    except UnicodeError as error:
        shown = make_printable(text)
        raise InputError("a folder's name is not UTF-8", which=root.name, found=shown) from error
    return name
