"""The form of a stored answer: one row of an Arrow record batch.

Every row has a checksum of what it serves, made when the answer arrived and kept unchanged by
compaction. So whatever bits flip between the network and the look-up, in a body, an offset or a
footer, a row that verifies is the answer that was paid for.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import xxhash
from msgspec import Struct

from pipeline.core.arrays import BoolArray, FloatArray, IntArray, KeyArray, OffsetArray
from pipeline.core.records import Scores

KEY_BYTES = 16

MAX_BATCH_DOCUMENTS = 4_096
"""A record batch ends with the request that exceeds this: 64 KB of keys and scores."""

_DOCUMENT: pa.StructType = pa.struct(
    [
        pa.field("document_key", pa.uint64(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
    ]
)
_DOCUMENTS = pa.list_(pa.field("item", _DOCUMENT, nullable=False))
_TIME = pa.timestamp("us", tz="UTC")
_FIELDS: "list[pa.Field[Any]]" = [
    pa.field("key", pa.binary(KEY_BYTES), nullable=False),
    pa.field("query_key", pa.uint64(), nullable=False),
    pa.field("documents", _DOCUMENTS, nullable=False),
    pa.field("total_tokens", pa.int64()),
    pa.field("response_id", pa.string(), nullable=False),
    pa.field("saved_at", _TIME, nullable=False),
    pa.field("checksum", pa.uint64(), nullable=False),
]
SCHEMA = pa.schema(_FIELDS)


Saved: TypeAlias = tuple[int, int]
"""When an answer was saved, in microseconds since 1970, then its checksum. Of several answers to
one request the least counts: the one that was saved first."""


class StoredAnswer(Struct, frozen=True, eq=False):
    """An answered request as it is stored; `saved_at_us` is in microseconds since 1970."""

    key: bytes
    query_key: int
    document_keys: KeyArray
    scores: Scores
    saved_at_us: int


def encode_in_batches(answers: Sequence[StoredAnswer]) -> list[pa.RecordBatch]:
    """Return the answers as record batches, in their order.

    Nearly always as one. What has piled up behind a slow disk is cut into several, since a look-up
    reads a whole batch.
    """
    batches, first, num_documents = [], 0, 0
    for place, answer in enumerate(answers):
        if num_documents > MAX_BATCH_DOCUMENTS:
            batches.append(encode(answers[first:place]))
            first, num_documents = place, 0
        num_documents += len(answer.document_keys)
    return [*batches, encode(answers[first:])]


def encode(answers: Sequence[StoredAnswer]) -> pa.RecordBatch:
    """Return the answers as one record batch, in their order."""
    document_keys = [np.ascontiguousarray(a.document_keys, np.uint64) for a in answers]
    scores = [np.ascontiguousarray(a.scores.scores, np.float64) for a in answers]
    offsets = np.zeros(len(answers) + 1, np.int32)
    np.cumsum([len(keys) for keys in document_keys], out=offsets[1:])
    checksums = [
        _checksum(
            answer.key,
            answer.query_key,
            keys.tobytes(),
            numbers.tobytes(),
            answer.scores.total_tokens,
            answer.scores.response_id,
        )
        for answer, keys, numbers in zip(answers, document_keys, scores, strict=True)
    ]
    documents = pa.StructArray.from_arrays(
        [pa.array(np.concatenate(document_keys)), pa.array(np.concatenate(scores))],
        fields=list(_DOCUMENT),
    )
    columns = [
        _fixed([answer.key for answer in answers]),
        pa.array([answer.query_key for answer in answers], pa.uint64()),
        _lists(offsets, documents),
        pa.array([answer.scores.total_tokens for answer in answers], pa.int64()),
        pa.array([answer.scores.response_id for answer in answers], pa.string()),
        pa.array([answer.saved_at_us for answer in answers], _TIME),
        pa.array(checksums, pa.uint64()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


class Rows:
    """A record batch opened for reading: valid Arrow, whose rows are still to be verified."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch
        self.keys = key_bytes(batch)
        self.prefixes = prefixes(self.keys)
        self.query_keys: KeyArray = batch.column("query_key").to_numpy()
        documents: Any = batch.column("documents")  # the stubs know only Array
        self._offsets: OffsetArray = documents.offsets.to_numpy()
        self._document_keys: KeyArray = documents.values.field(0).to_numpy()
        self._scores: FloatArray = documents.values.field(1).to_numpy()
        self._total_tokens = batch.column("total_tokens")
        self._response_ids: Any = batch.column("response_id")
        self._checksums: KeyArray = batch.column("checksum").to_numpy()

    @property
    def saved_at_us(self) -> IntArray:
        """When each row was saved, in microseconds since 1970."""
        times: IntArray = self.batch.column("saved_at").view(pa.int64()).to_numpy()
        return times

    def saved(self, row: int) -> Saved:
        """Return which of several answers to one request this one is."""
        return int(self.saved_at_us[row]), int(self._checksums[row])

    def key(self, row: int) -> bytes:
        """Return the key of a row."""
        return self.keys[row * KEY_BYTES : (row + 1) * KEY_BYTES]

    def find(self, wanted: KeyArray) -> Iterator[tuple[bytes, Saved, Scores]]:
        """Yield each row that verifies and whose key begins with wanted bits."""
        # One comparison each beats np.isin for the few keys that a batch usually has to answer.
        matches = (
            np.isin(self.prefixes, wanted)
            if len(wanted) > 8
            else np.logical_or.reduce([self.prefixes == prefix for prefix in wanted])
        )
        for row in np.flatnonzero(matches).tolist():
            scores = self._verified(row)
            if scores is not None:
                yield self.key(row), self.saved(row), scores

    def find_queries(
        self, wanted: KeyArray, before_us: int
    ) -> Iterator[tuple[Saved, StoredAnswer]]:
        """Yield each row that verifies, has a wanted query and was saved before that moment."""
        saved_at_us = self.saved_at_us
        matches = np.isin(self.query_keys, wanted) & (saved_at_us < before_us)
        for row in np.flatnonzero(matches).tolist():
            scores = self._verified(row)
            if scores is not None:
                start, stop = self._offsets[row : row + 2]
                answer = StoredAnswer(
                    self.key(row),
                    int(self.query_keys[row]),
                    self._document_keys[start:stop].copy(),
                    scores,
                    int(saved_at_us[row]),
                )
                yield self.saved(row), answer

    def verified(self) -> BoolArray:
        """Return which rows are as they were when they were saved."""
        rows = range(self.batch.num_rows)
        return np.array([self._verified(row) is not None for row in rows], np.bool_)

    def _verified(self, row: int) -> Scores | None:
        start, stop = self._offsets[row : row + 2]
        scores = self._scores[start:stop].copy()  # a view would keep the whole batch in memory
        total_tokens = self._total_tokens[row].as_py()
        response_id = self._response_ids[row].as_py()
        checksum = _checksum(
            self.key(row),
            int(self.query_keys[row]),
            self._document_keys[start:stop].tobytes(),
            scores.tobytes(),
            total_tokens,
            response_id,
        )
        sound = checksum == self._checksums[row]
        return Scores(scores, total_tokens, response_id) if sound else None


def key_bytes(batch: pa.RecordBatch) -> bytes:
    """Return the keys of a batch, one after the other."""
    column = batch.column("key")
    content = column.buffers()[1]
    start = column.offset * KEY_BYTES
    size = len(column) * KEY_BYTES
    return b"" if content is None else content[start : start + size].to_pybytes()


def num_documents(batch: pa.RecordBatch) -> int:
    """Return how many documents the rows of a batch have together."""
    documents: Any = batch.column("documents")
    count: int = documents.offsets[-1].as_py() - documents.offsets[0].as_py()
    return count


def repeated(keys: bytes) -> set[bytes]:
    """Return the keys that occur more than once; keys are given one after the other."""
    halves = np.frombuffer(keys, "<u8").reshape(-1, 2)
    halves = halves[np.lexsort((halves[:, 1], halves[:, 0]))]
    repeats = (halves[1:] == halves[:-1]).all(axis=1)
    return {half.tobytes() for half in halves[1:][repeats]}


def prefixes(keys: bytes) -> KeyArray:
    """Return the first 64 bits of each key; keys are given one after the other.

    Indexes hold these; the rest of a key is compared when a row is read.
    """
    return np.frombuffer(keys, "<u8")[::2].astype(np.uint64)


def _checksum(
    key: bytes,
    query_key: int,
    document_keys: bytes,
    scores: bytes,
    total_tokens: int | None,
    response_id: str,
) -> int:
    tokens = b"" if total_tokens is None else total_tokens.to_bytes(8, "little", signed=True)
    # The lengths of the inner parts come first, so that no byte can move to another part.
    head = b"%d %d %d " % (query_key, len(scores), len(tokens))
    parts = (head, key, document_keys, scores, tokens, response_id.encode())
    return xxhash.xxh3_64_intdigest(b"".join(parts))


def _fixed(keys: Sequence[bytes]) -> "pa.Array[Any]":
    content = b"".join(keys)
    if len(content) != KEY_BYTES * len(keys):
        raise ValueError(f"a key is not {KEY_BYTES} bytes long")
    return pa.Array.from_buffers(pa.binary(KEY_BYTES), len(keys), [None, pa.py_buffer(content)])


def _lists(offsets: OffsetArray, documents: pa.StructArray) -> "pa.Array[Any]":
    # The stubs know no list of structs with a given type.
    make: Any = pa.ListArray.from_arrays
    lists: pa.Array[Any] = make(pa.array(offsets), documents, type=_DOCUMENTS)
    return lists
