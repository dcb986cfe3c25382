"""Allocators and the garbage collector, told what kind of program this is.

Arrow's own allocator keeps what was freed, and so does the C library's, in an arena for each thread
and in large blocks that leave holes. So Arrow is given the C library's, and that one gets two
arenas, whose holes are given back a few times a second by a thread that holds no lock of Python.

A large block may be *mapped*, alone and away from the heap. It leaves no hole, so that memory stays
flat for any number of groups, but whoever takes it fetches every page anew: 2 a request with short
texts, and over 20, a tenth of a run's CPU, with long ones. So blocks are mapped as long as that is
cheap. Where it is not, they are kept in the heap, and now and then mapping is tried anew.
"""

import ctypes
import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Names and numbers of mallopt(3), glibc; it has malloc_trim(3) too.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 32 * 1024 * 1024
_MAPPED_FROM, _KEPT_FROM = 128 * 1024, 8 * 1024 * 1024
"""From how many bytes on a block is mapped: while that is cheap, and while it is not."""
_ARENAS = 2

_LOOK_S = 0.1
_GIVE_BACK_EVERY, _GIVE_KEPT_BACK_EVERY, _TRY_EVERY = 2, 20, 100
"""Looks from one giving back of holes to the next, while blocks are mapped and while they are kept;
and from one try of mapping to the next."""
CHEAP_FAULTS_PER_S, MOST_FAULTS_AT_ONCE = 25_000, 8_000
"""A page fault takes one or two microseconds."""

_NEW_OBJECTS = 50_000


def before_imports() -> None:
    """Say what libraries look for when they are loaded, where the user has not said it.

    `pyarrow.set_memory_pool` would come too late and reach too little: what Parquet allocates while
    it encodes and decodes comes from the pool that the environment names
    (arrow.apache.org/docs/cpp/env_vars.html).
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    # There is hardly any linear algebra here, and NumPy's threads for it spin while they wait.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # After so many new objects the collector looks at them; 700 by default. Modules stay, and the
    # job's values hold no cycles, so it would look through them over and over to find nothing.
    gc.set_threshold(_NEW_OBJECTS)


@contextmanager
def kept_flat() -> Iterator[None]:
    """Keep this process small while it works; where the C library is another, change nothing."""
    gc.freeze()  # modules stay: the collector need not look at them
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallopt"):
        yield
        return
    library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    library.mallopt(_M_ARENA_MAX, _ARENAS)
    ended = threading.Event()
    thread = threading.Thread(
        target=_keep_flat, args=(library, ended), name="give-memory-back", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Faults:
    """Whether page faults are few, a burst now and then apart.

    Args:
        so_far: How many there were when this began.
    """

    def __init__(self, so_far: int) -> None:
        self._last = so_far
        self._too_many = 0.0

    def are_cheap(self, so_far: int, seconds: float) -> bool:
        """Look again, so many seconds after the last look."""
        more = so_far - self._last - CHEAP_FAULTS_PER_S * seconds
        self._last, self._too_many = so_far, max(0.0, self._too_many + more)
        return self._too_many <= MOST_FAULTS_AT_ONCE


def _keep_flat(library: ctypes.CDLL, ended: threading.Event) -> None:
    from resource import RUSAGE_SELF, getrusage  # not on every platform

    # The threshold is a word that malloc reads without a lock; other threads see one or the other.
    faults: Faults | None = None  # none while blocks are kept
    look = 0
    while True:
        if look % _TRY_EVERY == 0 and faults is None:
            library.mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)
            faults = Faults(getrusage(RUSAGE_SELF).ru_minflt)
        if ended.wait(_LOOK_S):
            return
        look += 1
        if faults and not faults.are_cheap(getrusage(RUSAGE_SELF).ru_minflt, _LOOK_S):
            library.mallopt(_M_MMAP_THRESHOLD, _KEPT_FROM)
            faults = None
        if look % (_GIVE_BACK_EVERY if faults else _GIVE_KEPT_BACK_EVERY) == 0:
            library.malloc_trim(0)
