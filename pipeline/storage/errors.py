"""Errors of disks and object stores, translated into this project's in one place."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from pipeline.core.errors import RerankError

_CURES = {
    errno.ENOSPC: "free disk space, then run the same command again",
    errno.EDQUOT: "free disk space, then run the same command again",
    errno.EFBIG: "lift the limit on file sizes (ulimit -f), then run the same command again",
    errno.EACCES: "check the permissions there",
    errno.EPERM: "check the permissions there",
    errno.ENOTDIR: "a file stands where a folder is needed: choose another place",
    errno.EEXIST: "a file stands where a folder is needed: choose another place",
    errno.EROFS: "the file system is read-only",
}


_LASTING = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENOENT),
        *(errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL),
    }
)


class StoreError(OSError):
    """An object store refused a call or did not answer.

    Args:
        cause: What went wrong, in one line without any part of the address.
        cure: What the user can do.
        is_lasting: Whether the same call will fail again until a person acts.
    """

    def __init__(self, cause: str, cure: str | None = None, *, is_lasting: bool = False) -> None:
        super().__init__(cause)
        self.cure = cure
        self.is_lasting = is_lasting


class MissingObject(StoreError, FileNotFoundError):
    """There is no such object, or no such bucket or container."""

    def __init__(self, cause: str, cure: str | None = None) -> None:
        super().__init__(cause, cure, is_lasting=True)


class ChangedObject(StoreError):
    """An object was replaced while it was read."""


class _Named(Protocol):
    @property
    def name(self) -> str: ...


def explain(error: OSError) -> tuple[str, str | None]:
    """Return the cause of an error, in one line, and the cure if one is known."""
    if isinstance(error, StoreError):
        return str(error), error.cure
    return error.strerror or str(error), _CURES.get(error.errno or 0)


def is_lasting(error: BaseException | None) -> bool:
    """Return whether a call will fail again until a person acts: permissions, names, buckets."""
    if isinstance(error, StoreError):
        return error.is_lasting
    return isinstance(error, OSError) and error.errno in _LASTING


@contextmanager
def translate_errors(
    place: _Named,
    error_class: type[RerankError],
    what: str,
    *,
    passing: tuple[type[OSError], ...] | type[OSError] = (),
) -> Iterator[None]:
    """Raise an OSError of the body as `error_class`, which names the place, cause and cure.

    Args:
        place: Where the body reads or writes.
        error_class: What to raise.
        what: What could not be done there: "cannot be read".
        passing: Errors to let through.
    """
    try:
        yield
    except passing:
        raise
    except OSError as error:
        cause, cure = explain(error)
        raise error_class(f"{what}: {cause}", which=place.name, cure=cure) from error
