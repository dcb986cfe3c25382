"""The index of a segment: where each batch is, and which keys it has.

A closed segment ends in its index. The index is kept as columns, in memory as in the file: a
segment is written for minutes, and a small object per batch would fragment memory for as long.
"""

from array import array
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec import Struct

from pipeline.score_store.rows import KEY_BYTES, key_bytes

_SCHEMA_FIELDS: "list[pa.Field[Any]]" = [
    pa.field("offset", pa.int64(), nullable=False),
    pa.field("size", pa.int64(), nullable=False),
    pa.field("keys", pa.large_binary(), nullable=False),
    pa.field("documents", pa.int64(), nullable=False),
    pa.field("oldest_us", pa.int64(), nullable=False),
    pa.field("newest_us", pa.int64(), nullable=False),
]
_SCHEMA = pa.schema(_SCHEMA_FIELDS)
_NUMBERS = ("offset", "size", "documents", "oldest_us", "newest_us")


class BatchFacts(Struct, frozen=True):
    """One record batch of a segment.

    Attributes:
        offset: Where it begins in the segment.
        size: Its bytes.
        keys: The keys of its rows, one after the other.
        documents: Documents of all rows together.
        oldest_us: When its first answer was saved, in microseconds since 1970.
        newest_us: When its last answer was saved.
    """

    offset: int
    size: int
    keys: bytes
    documents: int
    oldest_us: int
    newest_us: int

    @classmethod
    def of(cls, offset: int, size: int, batch: pa.RecordBatch) -> "BatchFacts":
        """Return the facts of a batch at this offset."""
        times = batch.column("saved_at").view(pa.int64()).to_numpy()
        return cls(
            offset,
            size,
            key_bytes(batch),
            documents=_num_documents(batch),
            oldest_us=int(times.min(initial=2**62)),
            newest_us=int(times.max(initial=0)),
        )

    @property
    def num_requests(self) -> int:
        """Rows of the batch."""
        return len(self.keys) // KEY_BYTES

    def iter_keys(self) -> Iterator[bytes]:
        """Yield the keys in their order."""
        for start in range(0, len(self.keys), KEY_BYTES):
            yield self.keys[start : start + KEY_BYTES]


class SegmentIndex:
    """The batches of a segment, in their order; 24 bytes a key and 48 a batch."""

    def __init__(self) -> None:
        self._numbers = {name: array("q") for name in _NUMBERS}
        self._keys = bytearray()
        self._ends = array("q", [0])  # of the keys of each batch, after the start of the first

    def add(self, facts: BatchFacts) -> None:
        """Append a batch."""
        for name, numbers in self._numbers.items():
            numbers.append(getattr(facts, name))
        self._keys += facts.keys
        self._ends.append(len(self._keys))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[BatchFacts]:
        for place, (start, stop) in enumerate(zip(self._ends, self._ends[1:], strict=False)):
            numbers = {name: column[place] for name, column in self._numbers.items()}
            yield BatchFacts(keys=bytes(self._keys[start:stop]), **numbers)

    def to_bytes(self) -> pa.Buffer:
        """Return the index as it is written into a file."""
        ends, keys = pa.py_buffer(self._ends.tobytes()), pa.py_buffer(self._keys)
        columns = [
            pa.Array.from_buffers(kind.type, len(self), [None, ends, keys])
            if kind.name == "keys"
            else pa.array(np.array(self._numbers[kind.name]), kind.type)
            for kind in _SCHEMA
        ]
        return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA).serialize()

    @classmethod
    def from_bytes(cls, content: bytes) -> "SegmentIndex":
        """Return the index that a file holds; the caller has verified its checksum."""
        batch = pa.ipc.read_record_batch(pa.py_buffer(content), _SCHEMA)
        index = cls()
        _, ends, keys = batch.column("keys").buffers()
        assert ends is not None
        index._ends = array("q", ends.to_pybytes()[: 8 * (batch.num_rows + 1)])
        index._keys = bytearray(keys or b"")
        for name in _NUMBERS:
            index._numbers[name] = array("q", batch.column(name).to_numpy().tobytes())
        return index


def _num_documents(batch: pa.RecordBatch) -> int:
    """Return how many documents the rows of a batch have together."""
    scores: Any = batch.column("scores")
    count: int = scores.offsets[-1].as_py() - scores.offsets[0].as_py()
    return count
