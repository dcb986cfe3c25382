"""Defaults of memory allocators, BLAS threads and the garbage collector, set once per process.

Arrow's buffers, of some megabytes, come and go between small objects that stay. In one heap with
these they leave holes, so Arrow gets an allocator of its own, with one arena. Figures of others:
`tests/benchmarks/README.md`.
"""

import ctypes
import gc
import os
import sys
from typing import Final

_M_ARENA_MAX: Final = -8  # mallopt(3), glibc
_ARENAS: Final = 2
"""By default glibc makes up to eight arenas per core, each of which keeps what was freed in it."""

_JEMALLOC_OPTIONS: Final = "narenas:1,dirty_decay_ms:100,oversize_threshold:5242880"
"""Buffers larger than a batch of rows go back to the system at once, others after a while."""

_NEW_OBJECTS: Final = 50_000
_IMPORTED_OBJECTS: Final = 300_000
"""More than the imports of any command make, which stay: a tenth of the start of a run."""


def set_library_defaults() -> None:
    """Set what libraries read when they are imported, unless the user has set it; call it first.

    `pyarrow.set_memory_pool` would be too late and reach too little: Parquet encodes and decodes in
    the pool that the environment names (arrow.apache.org/docs/cpp/env_vars.html).
    """
    # Elsewhere Arrow may be built without jemalloc, and would warn.
    pool = "jemalloc" if sys.platform == "linux" else "system"
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", pool)
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", _JEMALLOC_OPTIONS)
    # There is hardly any linear algebra here, and idle threads of NumPy's BLAS spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(_IMPORTED_OBJECTS)


def prepare_for_run() -> None:
    """Limit the memory that a run keeps; call it after the imports."""
    if not gc.get_freeze_count():  # once in a process, else what an earlier run left stays too
        gc.freeze()  # the modules stay: collections need not look at them
    # The values of a run hold no cycles: at the default of 700 new objects, collections would
    # search them over and over to find nothing.
    gc.set_threshold(_NEW_OBJECTS)
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None and hasattr(library, "mallopt"):
        library.mallopt(_M_ARENA_MAX, _ARENAS)
