"""The form of a stored answer: one row of an Arrow record batch.

Every row has a checksum of its contents, made when the answer arrived and kept unchanged by
compaction. So whichever bits flip between the network and the look-up, in a body, an offset or a
footer, a row that verifies is the answer that was paid for.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import xxhash
from msgspec import Struct

from pipeline.core.arrays import BoolArray, FloatArray, IntArray, KeyArray, OffsetArray
from pipeline.core.content import DIGEST_BYTES
from pipeline.core.records import Scores

KEY_BYTES = DIGEST_BYTES
KEY_WORDS = KEY_BYTES // 8

MAX_BATCH_DOCUMENTS = 4_096
"""A record batch ends with the request that exceeds this: 64 KB of keys and scores."""

_SCORES = pa.list_(pa.field("item", pa.float64(), nullable=False))
_TIME = pa.timestamp("us", tz="UTC")
_FIELDS: "list[pa.Field[Any]]" = [
    pa.field("key", pa.binary(KEY_BYTES), nullable=False),
    pa.field("scope", pa.binary(KEY_BYTES), nullable=False),
    pa.field("document_keys", pa.binary(), nullable=False),
    pa.field("scores", _SCORES, nullable=False),
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
    """An answered request as it is stored.

    Attributes:
        key: The request's digest.
        scope: The digest of its query and all else that its scores depend on but the documents.
        document_keys: The digests of its documents, one after the other; empty where they are not
            kept, since only partial reuse needs them.
        scores: The answer.
        saved_at_us: Microseconds since 1970.
    """

    key: bytes
    scope: bytes
    document_keys: bytes
    scores: Scores
    saved_at_us: int


def encode_in_batches(answers: Sequence[StoredAnswer]) -> list[pa.RecordBatch]:
    """Return the answers as record batches, in their order.

    Nearly always this is one batch. Answers that have piled up behind a slow disk are cut into
    several, since a look-up reads a whole batch.
    """
    batches, first, num_documents = [], 0, 0
    for place, answer in enumerate(answers):
        if num_documents > MAX_BATCH_DOCUMENTS:
            batches.append(encode(answers[first:place]))
            first, num_documents = place, 0
        num_documents += len(answer.scores.scores)
    return [*batches, encode(answers[first:])]


def encode(answers: Sequence[StoredAnswer]) -> pa.RecordBatch:
    """Return the answers as one record batch, in their order."""
    scores = [np.ascontiguousarray(a.scores.scores, np.float64) for a in answers]
    offsets = np.zeros(len(answers) + 1, np.int32)
    np.cumsum([len(numbers) for numbers in scores], out=offsets[1:])
    checksums = [
        _checksum(
            answer.key,
            answer.scope,
            answer.document_keys,
            numbers.tobytes(),
            answer.scores.total_tokens,
            answer.scores.response_id,
            answer.saved_at_us,
        )
        for answer, numbers in zip(answers, scores, strict=True)
    ]
    columns = [
        _fixed([answer.key for answer in answers]),
        _fixed([answer.scope for answer in answers]),
        pa.array([answer.document_keys for answer in answers], pa.binary()),
        _lists(offsets, np.concatenate(scores)),
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
        self._scopes = key_bytes(batch, "scope")
        self.scope_prefixes = prefixes(self._scopes)
        scores: Any = batch.column("scores")  # the stubs know only Array
        self._offsets: OffsetArray = scores.offsets.to_numpy()
        self._scores: FloatArray = scores.values.to_numpy()
        self._document_keys: Any = batch.column("document_keys")
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

    def scope(self, row: int) -> bytes:
        """Return the scope of a row."""
        return self._scopes[row * KEY_BYTES : (row + 1) * KEY_BYTES]

    def find(self, wanted: KeyArray) -> Iterator[tuple[bytes, Saved, Scores]]:
        """Yield each row that verifies and whose key begins with one of the wanted prefixes."""
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

    def find_scopes(self, wanted: KeyArray, before_us: int) -> Iterator[tuple[Saved, StoredAnswer]]:
        """Yield each row that verifies, is old enough, and has a wanted prefix of its scope.

        Args:
            wanted: The first 64 bits of some scopes.
            before_us: Microseconds since 1970.
        """
        saved_at_us = self.saved_at_us
        matches = np.isin(self.scope_prefixes, wanted) & (saved_at_us < before_us)
        for row in np.flatnonzero(matches).tolist():
            scores = self._verified(row)
            if scores is not None:
                document_keys = self._document_keys[row].as_py()
                saved = self.saved(row)
                yield (
                    saved,
                    StoredAnswer(self.key(row), self.scope(row), document_keys, scores, saved[0]),
                )

    def verified(self) -> BoolArray:
        """Return which rows are unchanged since they were saved, bool per row."""
        rows = range(self.batch.num_rows)
        return np.array([self._verified(row) is not None for row in rows], np.bool_)

    def _verified(self, row: int) -> Scores | None:
        start, stop = self._offsets[row : row + 2]
        scores = self._scores[start:stop].copy()  # a view would keep the whole batch in memory
        total_tokens = self._total_tokens[row].as_py()
        response_id = self._response_ids[row].as_py()
        checksum = _checksum(
            self.key(row),
            self.scope(row),
            self._document_keys[row].as_py(),
            scores.tobytes(),
            total_tokens,
            response_id,
            int(self.saved_at_us[row]),
        )
        sound = checksum == self._checksums[row]
        return Scores(scores, total_tokens, response_id) if sound else None


def key_bytes(batch: pa.RecordBatch, name: str = "key") -> bytes:
    """Return a column of digests, one after the other."""
    column = batch.column(name)
    content = column.buffers()[1]
    start = column.offset * KEY_BYTES
    size = len(column) * KEY_BYTES
    return b"" if content is None else content[start : start + size].to_pybytes()


def prefixes(keys: bytes) -> KeyArray:
    """Return the first 64 bits of each key; keys are given one after the other.

    Indexes hold these; the rest of a key is compared when a row is read.
    """
    return np.frombuffer(keys, "<u8")[::KEY_WORDS].astype(np.uint64)


def _checksum(
    key: bytes,
    scope: bytes,
    document_keys: bytes,
    scores: bytes,
    total_tokens: int | None,
    response_id: str,
    saved_at_us: int,
) -> int:
    tokens = b"" if total_tokens is None else total_tokens.to_bytes(8, "little", signed=True)
    # The lengths of the inner parts come first, so that no byte can move to another part.
    head = b"%d %d %d %d " % (saved_at_us, len(document_keys), len(scores), len(tokens))
    parts = (head, key, scope, document_keys, scores, tokens, response_id.encode())
    return xxhash.xxh3_64_intdigest(b"".join(parts))


def _fixed(keys: Sequence[bytes]) -> "pa.Array[Any]":
    content = b"".join(keys)
    if len(content) != KEY_BYTES * len(keys):
        raise ValueError(f"a key is not {KEY_BYTES} bytes long")
    return pa.Array.from_buffers(pa.binary(KEY_BYTES), len(keys), [None, pa.py_buffer(content)])


def _lists(offsets: OffsetArray, scores: FloatArray) -> "pa.Array[Any]":
    # The stubs know no list with a given type.
    make: Any = pa.ListArray.from_arrays
    lists: pa.Array[Any] = make(pa.array(offsets), pa.array(scores), type=_SCORES)
    return lists
