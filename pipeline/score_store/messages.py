"""Record batches in bytes of an Arrow IPC stream that may be damaged anywhere."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipeline.score_store.rows import SCHEMA

MARK = b"\xff\xff\xff\xff"
"""Begins every message of an IPC stream (Arrow columnar format 1.5, encapsulated messages)."""

_DAMAGE = (pa.ArrowException, OSError, EOFError, ValueError, IndexError)
"""What Arrow raises for bytes that are no sound message."""


def walk(content: bytes) -> Iterator[tuple[int, int, pa.RecordBatch]]:
    """Yield offset, size and batch of what can be read, from the start to the end."""
    data = pa.py_buffer(content)
    position = content.find(MARK)
    while position >= 0:
        read = read_batch(data[position:])
        if read is None:
            position = content.find(MARK, position + 1)
            continue
        batch, size = read
        yield position, size, batch
        position = content.find(MARK, position + size)


def read_batch(data: pa.Buffer) -> tuple[pa.RecordBatch, int] | None:
    """The batch at the start of the bytes and its size there; None if there is no sound one."""
    stream = pa.BufferReader(data)
    try:
        message: Any = pa.ipc.read_message(stream)
        if message.type != "record batch":
            return None
        batch = pa.ipc.read_record_batch(message, SCHEMA)
        batch.validate(full=True)
    except _DAMAGE:
        return None
    return batch, stream.tell()
