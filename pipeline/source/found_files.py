"""Find the files that an input name covers; none of them is left out silently.

Names that begin with `_` or `.` are hidden, unless a glob spells out that character, and names that
do not end in `.parquet`, `.parq` or `.pq` are not read. A broken link is refused, since it may have
led to candidates.
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from pipeline.core.errors import InputError
from pipeline.source.patterns import Pattern
from pipeline.source.table_formats import METADATA_FOLDER, refuse_tables
from pipeline.storage.files import FileInfo
from pipeline.storage.location import Location

SUFFIXES = (".parquet", ".parq", ".pq")
_HIDDEN = ("_", ".")


class FoundFiles(Struct, frozen=True):
    """Files by their paths below the input's base, in order.

    Attributes:
        paths: The files to read; "" is the base itself.
        skipped: Files that the name covers but that are not read. In a folder, hidden files do not
            count.
    """

    paths: tuple[str, ...]
    skipped: tuple[str, ...] = ()


def find_files(
    base: Location, pattern: Pattern, *, suffixes: tuple[str, ...] = SUFFIXES
) -> FoundFiles | None:
    """Find the files of an input; return None if there is no base.

    Args:
        base: The folder or file before the first wildcard.
        pattern: The glob below it.
        suffixes: How the names of files to read end.

    Raises:
        InputError: for a broken link, a file whose name is not UTF-8, and a part of a Delta Lake,
            Hudi or Iceberg table.
        OSError: if a folder cannot be listed.
    """
    info = base.files.info(base.path)
    if info is not None and not info.is_folder and not pattern:
        return FoundFiles(("",))
    if info is None or not info.is_folder:
        return None
    below = {info.path.removeprefix(base.path).lstrip("/"): info for info in _list(base, pattern)}
    named, read = [], []
    for path in sorted(below):
        if below[path].is_broken_link:
            _refuse_broken_link(base, path, pattern, suffixes)
        elif not below[path].is_folder and pattern.matches(path):
            is_hidden = _is_hidden(path, pattern)
            if pattern or not is_hidden:
                named.append(path)
            if not is_hidden and path.lower().endswith(suffixes):
                read.append(path)
    _refuse_odd_names(base, read)
    refuse_tables(base, read, below)
    return FoundFiles(tuple(read), tuple(sorted({*named} - {*read})))


def _list(base: Location, pattern: Pattern) -> Iterator[FileInfo]:
    """Yield all paths below the base that the pattern may match."""
    if not pattern.is_one_name:
        yield from base.files.children(base.path, recursive=True)
        return
    for info in base.files.children(base.path, recursive=False):
        yield info
        if info.is_folder and pattern.matches(info.base_name):
            yield from base.files.children(info.path, recursive=True)
        elif info.is_folder and info.base_name == METADATA_FOLDER:
            yield from base.files.children(info.path, recursive=False)


def _is_hidden(path: str, pattern: Pattern) -> bool:
    return any(
        name.startswith(_HIDDEN) and not pattern.spells_out(depth, name[0])
        for depth, name in enumerate(path.split("/"))
    )


def _refuse_broken_link(
    base: Location, path: str, pattern: Pattern, suffixes: tuple[str, ...]
) -> None:
    """Refuse a broken link if it may have led to a file or a folder of the input."""
    name = path.rpartition("/")[2]
    is_named = pattern and pattern.matches(path)
    may_be_read = is_named or "." not in name or name.lower().endswith(suffixes)
    if may_be_read and pattern.may_match_below(path) and not _is_hidden(path, pattern):
        raise InputError(
            "a broken link",
            which=printable(base.child(path).name),
            cure="restore its target, or remove it",
        )


def _refuse_odd_names(base: Location, paths: Iterable[str]) -> None:
    for path in paths:
        if not is_utf8(path):
            name = printable(base.child(path).name)
            raise InputError("its name is not UTF-8", which=name, cure="rename it")


def is_utf8(name: str) -> bool:
    """Return whether a name from the system is UTF-8; other bytes stand in it as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def printable(name: str) -> str:
    """Return a name with escapes for control characters and bytes that are not UTF-8."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)
