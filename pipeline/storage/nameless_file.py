"""A local file without a name until it is complete: a killed process leaves nothing behind."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

_NOT_OFFERED: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})
"""Error numbers of file systems and kernels that do not support files without a name."""


@contextmanager
def writing_file(place: Path, unfinished: Path) -> Iterator[BinaryIO]:
    """Yield a stream; make the file visible in one step when the body ends, unless it fails.

    Args:
        place: The file, which is replaced if it exists; its folder exists.
        unfinished: A name in the same folder that the file has for a moment; all the time where the
            file system does not support files without a name.
    """
    nameless = _open_nameless(place.parent)
    stream = unfinished.open("wb") if nameless is None else os.fdopen(nameless, "wb")
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            if nameless is not None:
                _link(nameless, unfinished)
        unfinished.replace(place)
    except BaseException:  # interrupts too
        unfinished.unlink(missing_ok=True)
        raise


def _open_nameless(folder: Path) -> int | None:
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None or not Path("/proc/self/fd").exists():
        return None
    try:
        return os.open(folder, flag | os.O_WRONLY, 0o666)
    except OSError as error:
        if error.errno in _NOT_OFFERED and folder.exists():
            return None
        raise


def _link(descriptor: int, name: Path) -> None:
    name.unlink(missing_ok=True)
    # With a folder's descriptor Python calls linkat, which alone follows the link in /proc.
    folder = os.open(name.parent, os.O_RDONLY)
    try:
        os.link(f"/proc/self/fd/{descriptor}", name, src_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)
