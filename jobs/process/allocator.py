"""Set defaults of memory allocators, BLAS threads and the garbage collector, once per process.

Arrow allocates from the C library. An allocator of its own leaves fewer holes between long-lived
objects, but returns memory to the system that is soon needed again: this costs a twentieth more CPU
for short texts, an eighth for long ones. Figures: `tests/benchmarks/README.md`.
"""

import ctypes
import gc
import os
import sys
from typing import Final

_M_ARENA_MAX: Final = -8  # mallopt(3), glibc
_ARENAS: Final = 2
"""By default glibc makes up to eight arenas per core, each of which keeps what was freed in it."""

_NEW_OBJECTS: Final = 50_000
_IMPORTED_OBJECTS: Final = 300_000
"""More than the imports of any command make, which stay: a tenth of the start of a run."""


def set_library_defaults() -> None:
    """Set variables that libraries read at import, unless the user has set them; call it first.

    `pyarrow.set_memory_pool` would be too late and reach too little: Parquet encodes and decodes in
    the pool that the environment names (arrow.apache.org/docs/cpp/env_vars.html).
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    # There is hardly any linear algebra here, and idle threads of NumPy's BLAS spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(_IMPORTED_OBJECTS)


def prepare_for_run() -> None:
    """Limit the memory that a run keeps; call it after the imports."""
    if not gc.get_freeze_count():  # once, else garbage of an earlier run would stay
        gc.freeze()  # the modules stay: collections need not look at them
    # The values of a run hold no cycles: at the default of 700 new objects, collections would
    # search them over and over to find nothing.
    gc.set_threshold(_NEW_OBJECTS)
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None and hasattr(library, "mallopt"):
        library.mallopt(_M_ARENA_MAX, _ARENAS)
