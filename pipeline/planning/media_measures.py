"""Measure the contents of a batch: texts, or images and videos in their place.

Tokens of an image follow from its size, which is read from the header of its file. How the hosted
model counts is not published; the rule here is that of the open Qwen3-VL-Reranker
(QwenLM/Qwen3-VL-Embedding, `qwen3_vl_reranker.py` at 8ce3aab1). Sides are rounded to multiples of
32 pixels, large images shrunk to 1,800 squares of 32 x 32 pixels, small ones enlarged to 4, and
each square is a token. A video takes 7,680 tokens at most. An image at a URL, which is never
fetched here, counts as a large one.
"""

import io
import struct
from typing import Final

from msgspec.structs import replace

from pipeline.core.content import Image, Video, content_hash, json_bytes
from pipeline.core.groups import GroupBatch, TextMeasures, media_of
from pipeline.tokens.measures import measure_texts

SQUARE: Final = 32
"""Pixels of the side of a token."""
MIN_IMAGE_TOKENS: Final = 4
MAX_IMAGE_TOKENS: Final = 1_800
MAX_VIDEO_TOKENS: Final = 7_680
_SIZED: Final = frozenset({"image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff"})
"""The formats whose size can be read."""


def measure_batch(batch: GroupBatch, *, max_tokens: int) -> TextMeasures:
    """Return the measures of all candidates of a batch.

    Args:
        batch: Its groups.
        max_tokens: Tokens of an image or a video that the model reads.
    """
    measures = measure_texts(batch.texts)
    if batch.media is None:
        return measures
    bounds, sizes = measures.token_bounds.copy(), measures.sizes.copy()
    hashes, blank = measures.content_hashes.copy(), measures.blank.copy()
    for place, content in media_of(batch.media).items():
        bounds[place] = min(media_tokens(content), max_tokens)
        sizes[place] = json_bytes(content)
        hashes[place] = content_hash(content)
        blank[place] = False
    return replace(measures, token_bounds=bounds, sizes=sizes, content_hashes=hashes, blank=blank)


def media_tokens(content: Image | Video) -> int:
    """Return the tokens of an image or a video, an upper bound where its size is not known."""
    if isinstance(content, Video):
        return MAX_VIDEO_TOKENS
    if content.data is None or content.media_type not in _SIZED:
        return MAX_IMAGE_TOKENS
    return image_tokens(*image_size(content.data))


def image_size(data: bytes) -> tuple[int, int]:
    """Return width and height in pixels, by the header of an image; (-1, -1) if it is damaged."""
    import imagesize  # type: ignore[import-untyped]  # slow, and seldom needed

    try:
        width, height = imagesize.get(io.BytesIO(data))
    except (ValueError, OSError, struct.error):  # the service will refuse it
        return -1, -1
    return int(width), int(height)


def image_tokens(width: int, height: int) -> int:
    """Return the tokens of an image of some size, the most for one that is not known."""
    if width < 1 or height < 1:
        return MAX_IMAGE_TOKENS
    across, down = (max(1, round(side / SQUARE)) for side in (width, height))
    return min(max(across * down, MIN_IMAGE_TOKENS), MAX_IMAGE_TOKENS)
