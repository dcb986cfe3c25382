"""Free memory between objects that stay goes back to the system, if there is much of it."""

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not (sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallinfo2")),
    reason="needs glibc 2.33 or later",
)

PROGRAM = """
from pathlib import Path
from pipeline.core.heap import trim_heap

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4_096

blocks = [bytes([number % 251]) * 60_000 for number in range(2_000)]
before = resident_bytes()
del blocks[1::2]
print(trim_heap(2**40), before - resident_bytes() < 1 << 20)
print(trim_heap(16 << 20), before - resident_bytes() > 40 << 20)
print(trim_heap(16 << 20) or all(block == block[:1] * 60_000 for block in blocks))
"""


def test_holes_are_returned_if_they_are_more_than_what_may_be_free() -> None:
    # In a process of its own, since the heap of this one is of any form.
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )

    assert ran.stdout.splitlines() == ["False True", "True True", "True"]
