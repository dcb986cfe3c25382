"""Return free memory in the heap of the C library to the system.

Large texts, bodies and Arrow's buffers come and go between small objects that stay, and leave holes
that glibc keeps for later (malloc_trim(3)). Giving them back and getting them again takes 0.3 ms of
CPU per request of 100 KB, so this is only for groups that take much longer anyway.
"""

import ctypes
import sys
from functools import cache
from typing import Any, ClassVar


class _MallInfo(ctypes.Structure):
    """glibc's `struct mallinfo2` (mallinfo(3)), whose members are all of one type."""

    _fields_: ClassVar = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def trim_heap(max_free_bytes: int) -> bool:
    """Return free memory to the system if there is more than so much; return whether there was.

    Do nothing without glibc 2.33 or later, which reports the size of the heap.
    """
    library = _glibc()
    if library is None or library.mallinfo2().fordblks <= max_free_bytes:
        return False
    library.malloc_trim(0)
    return True


@cache
def _glibc() -> Any:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallinfo2"):
        return None
    library.mallinfo2.restype = _MallInfo
    return library
