"""The footer of a Parquet file as bytes, and a digest of it that tells files of one size apart."""

import hashlib
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

_MAGIC = b"PAR1"
_ENCRYPTED_MAGIC = b"PARE"
_OTHER_KINDS: Final = {
    b"PK\x03\x04": "a ZIP file or an Excel workbook",
    b"\x1f\x8b": "a gzip file",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
    b"ARROW1": "an Arrow IPC file",
    b"Obj\x01": "an Avro file",
    b"ORC": "an ORC file",
    b"SQLite format 3": "an SQLite database",
}
"""First bytes of files that are mistaken for Parquet."""
_LONGEST_BEGINNING: Final = max(map(len, _OTHER_KINDS))
_TAIL_BYTES = 8  # the footer's length and the magic bytes
_FIRST_READ_BYTES = 64 << 10  # holds most footers whole, so that one request is enough

_SAMPLE_BYTES = 1_000
_MOST_CUT = 3  # bytes of a character whose first byte is not in the sample


class NotParquetButText(pa.ArrowInvalid):
    """The file ends with readable text, as CSV and JSON lines do."""


class Footer(Struct, frozen=True, eq=False):
    """The footer of one file.

    Attributes:
        metadata: What it states: schema, row groups, statistics.
        digest: 32 hexadecimal digits of the SHA-256 of its bytes. Row counts, sizes, places and
            extremes of all columns are in them, so a file that is written anew has another digest.
    """

    metadata: pq.FileMetaData
    digest: str


def read_footer(stream: pa.NativeFile) -> Footer:
    """Read the footer at the end of a file.

    Raises:
        pa.ArrowException: if the file does not end with one.
        OSError: if it cannot be read.
    """
    content = _read_footer_bytes(stream)
    # The parser expects a whole file, but reads only its end: the rest may be missing.
    try:
        metadata = pq.read_metadata(pa.BufferReader(_MAGIC + content))
    except UnicodeDecodeError as error:
        raise pa.ArrowInvalid("the name of a column is not UTF-8") from error
    return Footer(metadata, hashlib.sha256(content).hexdigest()[:32])


def _read_footer_bytes(stream: pa.NativeFile) -> bytes:
    size_bytes = stream.size()
    read_bytes = min(size_bytes, _FIRST_READ_BYTES)
    tail = _read_at(stream, size_bytes - read_bytes, read_bytes)
    if tail.endswith(_ENCRYPTED_MAGIC):
        raise pa.ArrowInvalid("it is encrypted, and no key is known")
    if not tail.endswith(_MAGIC) and _is_text(tail[-_SAMPLE_BYTES:]):
        raise NotParquetButText(f"{size_bytes} bytes of text")
    if size_bytes < len(_MAGIC) + _TAIL_BYTES or not tail.endswith(_MAGIC):
        head = _read_at(stream, 0, min(size_bytes, _LONGEST_BEGINNING))
        kind = next((kind for begin, kind in _OTHER_KINDS.items() if head.startswith(begin)), None)
        what = f"of {kind}" if kind else f"that do not end with {_MAGIC.decode()}"
        raise pa.ArrowInvalid(f"{size_bytes} bytes {what}")
    footer_bytes = int.from_bytes(tail[-_TAIL_BYTES : -len(_MAGIC)], "little") + _TAIL_BYTES
    if footer_bytes + len(_MAGIC) > size_bytes:
        raise pa.ArrowInvalid(f"{size_bytes} bytes, of which the footer would be {footer_bytes}")
    if footer_bytes > len(tail):
        tail = _read_at(stream, size_bytes - footer_bytes, footer_bytes)
    return tail[-footer_bytes:]


def _is_text(tail: bytes) -> bool:
    """Return whether the end of a file is readable text; its first character may be cut."""
    text = tail.decode(errors="ignore")
    cut = len(tail) - len(text.encode())
    return bool(text) and cut <= _MOST_CUT and all(c.isprintable() or c.isspace() for c in text)


def _read_at(stream: pa.NativeFile, position: int, num_bytes: int) -> bytes:
    stream.seek(position)
    return stream.read(num_bytes)
