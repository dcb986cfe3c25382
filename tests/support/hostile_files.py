"""Files on this machine that misbehave where a test says so."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Struct

from pipeline.storage.files import FileInfo
from pipeline.storage.local_files import LocalFiles
from pipeline.storage.location import Location

Listing: TypeAlias = list[FileInfo]


class HostileFiles(Struct, frozen=True):
    """Local files whose listings are not what is there.

    Attributes:
        listed: Takes a listing and returns the one to tell.
    """

    listed: Callable[[Listing], Listing]

    def children(self, folder: str, *, recursive: bool) -> Listing:
        """List the folder."""
        return self.listed(LocalFiles().children(folder, recursive=recursive))

    def __getattr__(self, name: str) -> Any:
        return getattr(LocalFiles(), name)


class RemoteFiles(Struct, frozen=True):
    """Local files that pass for those of an object store."""

    @property
    def is_local(self) -> bool:
        """Return that they are not."""
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(LocalFiles(), name)


def remote(folder: Path) -> Location:
    """Return a local folder that passes for one of an object store."""
    return Location(RemoteFiles(), str(folder), str(folder))


def hostile(folder: Path, listed: Callable[[Listing], Listing]) -> Location:
    """Return a folder whose listings are changed by `listed`."""
    return Location(HostileFiles(listed), str(folder), str(folder))


def after_listing(folder: Path, act: Callable[[], object], number: int = 1) -> Location:
    """Return a folder in which another process acts right after one listing, by default the first.

    Args:
        folder: The folder.
        act: What the other process does.
        number: Of the listing, from 1.
    """
    listings = count(1)

    def act_once(found: Listing) -> Listing:
        if next(listings) == number:
            act()
        return found

    return hostile(folder, act_once)
