"""Allocators and the garbage collector, told what kind of program this is.

Arrow's own allocator keeps what was freed, and so does the C library's, in an arena for each thread
and in large blocks that leave holes. So Arrow is given the C library's, and that one gets two
arenas. But what is given back at every turn must be fetched anew, page by page, so blocks up to
some megabytes are kept, which spares nine of ten page faults, a tenth of a run's CPU. The holes are
given back twice a second: that takes some milliseconds of a thread that holds no lock of Python.
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
_LARGE_BYTES = 8 * 1024 * 1024
_ARENAS = 2
_GIVE_BACK_S = 0.5

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
    library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    library.mallopt(_M_ARENA_MAX, _ARENAS)
    ended = threading.Event()

    def give_back() -> None:
        while not ended.wait(_GIVE_BACK_S):
            library.malloc_trim(0)

    thread = threading.Thread(target=give_back, name="give-memory-back", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
