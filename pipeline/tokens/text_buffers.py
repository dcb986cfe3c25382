"""The memory of Arrow strings, without a copy."""

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import IntArray


def text_offsets(texts: pa.LargeStringArray) -> IntArray:
    """Return int64 [number of texts + 1]: where in `text_bytes` each text begins, and the end."""
    buffer = texts.buffers()[1]
    if buffer is None:
        return np.zeros(1, dtype=np.int64)
    offsets: IntArray = np.frombuffer(memoryview(buffer), dtype=np.int64)
    of_texts: IntArray = offsets[texts.offset : texts.offset + len(texts) + 1]
    relative: IntArray = of_texts - of_texts[0]
    return relative


def text_bytes(texts: pa.LargeStringArray) -> memoryview:
    """Return the UTF-8 of the texts, one after the other; at a null there may be other bytes."""
    _, offsets, content = texts.buffers()
    if offsets is None or content is None:
        return memoryview(b"")
    borders = np.frombuffer(memoryview(offsets), dtype=np.int64)[texts.offset :]
    return memoryview(content)[borders[0] : borders[len(texts)]]
