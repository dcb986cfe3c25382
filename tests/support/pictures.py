"""Tiny pictures, and candidates that hold some."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from support.tables import write

COLUMNS: dict[str, pa.DataType] = {
    "query_id": pa.string(),
    "query": pa.string(),
    "query_image": pa.string(),
    "query_image_bytes": pa.binary(),
    "doc_id": pa.string(),
    "text": pa.string(),
    "image": pa.string(),
    "image_bytes": pa.binary(),
    "video": pa.string(),
}


def png(words: str = "", *, size: tuple[int, int] = (8, 8), shade: int = 0) -> bytes:
    """Return a PNG file of one colour, described by some words that the emulator reads."""
    width, height = size
    lines = (b"\0" + bytes((shade, 0, 0)) * width) * height
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            _chunk(b"tEXt", b"Description\0" + words.encode("latin-1")),
            _chunk(b"IDAT", zlib.compress(lines)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def candidates(
    documents: Sequence[dict[str, Any]], path: Path, *, query_id: str = "q", **query: Any
) -> Path:
    """Write a query and its documents, each given by `text`, `image`, `image_bytes` or `video`."""
    return write(table(documents, query_id=query_id, **query), path)


def table(documents: Sequence[dict[str, Any]], *, query_id: str = "q", **query: Any) -> pa.Table:
    """Return the same; the query by `query`, `query_image` or `query_image_bytes`."""
    query = query or {"query": "red tent"}
    rows = [
        {"query_id": query_id, "doc_id": f"d{place}", **query, **document}
        for place, document in enumerate(documents)
    ]
    held = {name for row in rows for name in row}
    schema = pa.schema([(name, kind) for name, kind in COLUMNS.items() if name in held])
    return pa.Table.from_pylist(rows, schema=schema)
