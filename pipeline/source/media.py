"""The columns of images and videos of a record batch, checked before anything is sent.

An image is a URL or the bytes of a file, a video a URL. A candidate is exactly one of a text, an
image and a video; a query is a text or an image. A blank string and an empty file count as null.
No message repeats a URL, which may be signed.
"""

import re
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import BoolArray
from pipeline.core.content import image_of_url
from pipeline.core.errors import InputError
from pipeline.core.media_types import (
    FORMATS,
    NUM_MAGIC_BYTES,
    media_type_of,
    name_of_format,
)
from pipeline.source.arrow import Array
from pipeline.source.batch_columns import BatchColumns
from pipeline.source.layouts.layout import DOCUMENT_MEDIA, QUERY_MEDIA

_WEB_ADDRESS: Final = re.compile(r"https?://[^\s/]", re.IGNORECASE)
_KIND: Final = {"image_bytes": pa.large_binary(), "query_image_bytes": pa.large_binary()}
"""The roles that are no strings."""


def document_media(columns: BatchColumns, texts: Array) -> Any:
    """Return images and videos, a struct of `DOCUMENT_MEDIA` for each candidate.

    Args:
        columns: Those with one value per candidate.
        texts: The candidates' texts.

    Raises:
        InputError: for a candidate that is not exactly one of text, image and video, for what is no
            URL, and for a file of a format that is not accepted.
    """
    arrays = [_checked(columns, role) for role in DOCUMENT_MEDIA]
    held = _is_held(texts).astype(np.int64) + sum(_is_held(array) for array in arrays)
    if (held != 1).any():
        place = int((held != 1).argmax())
        raise InputError(
            f"a candidate must hold exactly one of text, {', '.join(DOCUMENT_MEDIA)}",
            which=columns.file_name,
            found=f"{int(held[place])} of them in {columns.places.describe(place)}",
            cure="leave the others null, or remove the row",
        )
    return _struct(arrays, DOCUMENT_MEDIA)


def query_media(columns: BatchColumns, queries: Array) -> Any:
    """Return the queries that are images, a struct of `QUERY_MEDIA` for each row.

    Args:
        columns: Those with one value per row.
        queries: The texts of the queries.

    Raises:
        InputError: for a query that is both, for what is no URL, and for a file of a format that is
            not accepted.
    """
    arrays = [_checked(columns, role) for role in QUERY_MEDIA]
    held = _is_held(queries).astype(np.int64) + sum(_is_held(array) for array in arrays)
    if (held > 1).any():
        raise InputError(
            f"a query must hold one of query, {', '.join(QUERY_MEDIA)}",
            which=columns.file_name,
            found=f"several in {columns.places.describe(int((held > 1).argmax()))}",
            cure="leave the others null",
        )
    return _struct(arrays, QUERY_MEDIA)


def refuse_images_without_text(columns: BatchColumns, names: list[str], texts: Array) -> None:
    """Refuse candidates without a text that hold an image or a video, for a model of texts.

    Args:
        columns: Those with one value per candidate.
        names: Columns that may hold images or videos; they pass through.
        texts: The candidates' texts.

    Raises:
        InputError: naming the first one.
    """
    if not texts.null_count:
        return
    for name in names:
        held = columns.validity(name) & texts.is_null().to_numpy(zero_copy_only=False)
        if held.any():
            raise InputError(
                f"a candidate has no text, but column {name!r}, and the model scores texts alone",
                which=columns.file_name,
                found=columns.places.describe(int(held.argmax())),
                cure="choose a multimodal --model such as qwen3-vl-rerank, or rename the column",
            )


def _checked(columns: BatchColumns, role: str) -> Any:
    """Return a column without blank values."""
    if role in _KIND:
        return _checked_files(columns, role)
    urls = columns.text(role, pa.large_string())
    if urls.null_count == len(urls):
        return urls
    filled: Any = _is_filled(urls)
    if not pc.all(filled).as_py():
        urls = pc.if_else(filled, urls, pa.scalar(None, pa.large_string()))
    for place, url in enumerate(urls.to_pylist()):
        fault = None if url is None else _fault(role, url)
        if fault is not None:
            raise InputError(
                f"column {role!r} {fault}",
                which=columns.file_name,
                found=columns.places.describe(place),
                cure="the service fetches a video from its URL"
                if role == "video"
                else f"the service fetches URLs; put the bytes of local files into {role}_bytes",
            )
    return urls


def _fault(role: str, url: str) -> str | None:
    if _WEB_ADDRESS.match(url):
        return None
    if role == "video" or not url[:5].lower() == "data:":
        return "holds no web address, http(s)://..."
    try:
        image_of_url(url)
    except ValueError:
        return f"holds a data URL without an image in base64, of {FORMATS}"
    return None


def _checked_files(columns: BatchColumns, role: str) -> Any:
    files = columns.binary(role)
    if files.null_count == len(files):
        return files
    sizes: Any = pc.binary_length(files)
    if pc.min(sizes).as_py() == 0:
        files = pc.if_else(
            pc.equal(sizes, pa.scalar(0, sizes.type)), pa.scalar(None, pa.large_binary()), files
        )
    for place, start in enumerate(pc.binary_slice(files, 0, NUM_MAGIC_BYTES).to_pylist()):
        if start is not None and media_type_of(start) is None:
            raise InputError(
                f"column {role!r} holds a file that is no image of an accepted format",
                which=columns.file_name,
                found=f"{name_of_format(start)} in {columns.places.describe(place)}",
                expected=FORMATS,
                cure="convert it",
            )
    return files


def _is_held(column: Any) -> BoolArray:
    """Return where there is a value; blank texts are none."""
    held: BoolArray = column.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_large_string(column.type):
        held = held & _is_filled(column).fill_null(False).to_numpy(zero_copy_only=False)
    return held


def _is_filled(column: Any) -> Any:
    return pc.not_equal(pc.utf8_trim_whitespace(column), pa.scalar("", column.type))


def _struct(arrays: list[Array], names: tuple[str, ...]) -> Any:
    make: Any = pa.StructArray.from_arrays
    return make(arrays, names=list(names))
