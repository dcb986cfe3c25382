"""Allocators told to give memory back, and the garbage collector to look less often.

Arrow's own allocator keeps what was freed, and so does the C library's, in an arena for each thread
and in large blocks that leave holes: together up to a third of the peak. Blocks from 1 MiB on are
given back at once; from 64 KiB on would spare 10 MB more, but cost 10 % of the time in page faults.
"""

import ctypes
import gc
import sys

import pyarrow

# Names and numbers of mallopt(3), glibc.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_LARGE_BYTES = 1024 * 1024
_ARENAS = 2

_COLLECT_AFTER = 20_000
"""Objects made and not freed before the collector looks for cycles (Python: 700). Groups leave next
to none, but a thousand of them wait for their part, to be looked through again and again."""


def keep_memory_flat() -> None:
    """Set both allocators of this process; where the C library has no `mallopt`, Arrow's alone."""
    gc.freeze()  # modules stay for good
    gc.set_threshold(_COLLECT_AFTER, 20, 50)
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
            library.mallopt(_M_ARENA_MAX, _ARENAS)
