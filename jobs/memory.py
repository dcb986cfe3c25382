"""Allocators and the garbage collector, told what kind of program this is.

Arrow's own allocator keeps what was freed, and so does the C library's, in an arena for each thread
and in large blocks that leave holes: on 300 groups of 100 x 1,500 characters the peak was 375 MB
with their defaults, and 245 MB with one allocator of two arenas. But what is given back at every
turn must be fetched anew, page by page, so blocks up to some megabytes are kept: that spares nine
of ten page faults, a tenth of a run's CPU.
"""

import ctypes
import gc
import sys

import pyarrow

# Names and numbers of mallopt(3), glibc.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 32 * 1024 * 1024
_LARGE_BYTES = 8 * 1024 * 1024
_ARENAS = 2


def keep_memory_flat() -> None:
    """Set both allocators of this process; where the C library has no `mallopt`, Arrow's alone."""
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
            library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
            library.mallopt(_M_ARENA_MAX, _ARENAS)


def leave_out_modules() -> None:
    """Leave out of the collector's looks all that is there now: modules, classes, functions."""
    gc.freeze()
