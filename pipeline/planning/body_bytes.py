"""Bytes of a request's JSON body: cheap upper bounds, and exact sizes near the limit."""

from typing import Final

import numpy as np
import orjson

from pipeline.core.arrays import IntArray
from pipeline.core.content import Content, json_bytes
from pipeline.planning.json_columns import json_sizes
from pipeline.planning.units import Units

BYTES_PER_DOCUMENT: Final = 32
"""Bytes of a body around a document: quotes, comma, perhaps a field name."""
BYTES_PER_REQUEST: Final = 4_096
"""Bytes of a body besides query, instruction and documents: the model, field names."""
MAX_ESCAPE: Final = 6
"""Bytes that JSON may write for one byte of UTF-8: a control character (RFC 8259 section 7)."""
MAX_UTF8: Final = 4
"""Bytes of a character, at most."""


def query_body_bytes(query: Content, instruct: str | None) -> int:
    """Return the bytes of a body without its documents, at most."""
    return json_bytes(query) + len(orjson.dumps(instruct)) + 3 + BYTES_PER_REQUEST


def most_body_bytes(sizes: IntArray) -> IntArray:
    """Return upper bounds of the bytes that texts of these sizes take in a body."""
    return MAX_ESCAPE * sizes + BYTES_PER_DOCUMENT


def body_bytes(units: Units, capacity: int) -> IntArray:
    """Return the bytes of units in a body: bounds, or exact if the bounds exceed `capacity`."""
    most = most_body_bytes(units.sizes)
    if int(most.sum()) <= capacity:
        return most
    is_whole = np.ones(len(units), np.bool_)
    exact = np.zeros(len(units), np.int64)
    for unit, content in units.own_contents.items():
        is_whole[unit], exact[unit] = False, json_bytes(content)
    exact[is_whole] = json_sizes(units.row_texts.take(units.rows[is_whole]))
    return exact + BYTES_PER_DOCUMENT
