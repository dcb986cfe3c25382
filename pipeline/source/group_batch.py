"""Make a GroupBatch from the rows of whole groups; by column, never row by row."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import BoolArray, IntArray, RankArray
from pipeline.core.content import Content, is_blank, media_content
from pipeline.core.errors import InputError, shorten
from pipeline.core.groups import FIRST_RANK, GroupBatch
from pipeline.source.adjacency import take_ids
from pipeline.source.arrow import Array, one_chunk
from pipeline.source.decoded_rows import DecodedRows, join_rows
from pipeline.source.input_file import InputFile

LocateRow: TypeAlias = Callable[[int], tuple[InputFile, int]]


def make_group_batch(
    pieces: Sequence[DecodedRows],
    starts: IntArray,
    *,
    first_group: int,
    first_row: int,
    drop_repeats: bool,
    locate_row: LocateRow,
) -> GroupBatch:
    """Join pieces that begin and end with a group.

    Without ranks in the input, a candidate's rank is its place in the group, counted before
    repeats are dropped.

    Args:
        pieces: Adjacent input rows.
        starts: The row of the pieces where each group begins.
        first_group: Index of the first group in the dataset.
        first_row: The first input row, counted over all files from 0.
        drop_repeats: Keep only the first candidate of each doc_id in a group.
        locate_row: Returns the file of an input row and the row's number in it, for messages.

    Raises:
        InputError: for a group with two queries.
    """
    rows = join_rows(pieces)
    row_offsets = np.append(starts, rows.num_rows)
    offsets = rows.offsets[row_offsets]
    query_ids = take_ids(rows.query_ids, starts)
    texts_of_queries, conflict = _one_query_each(rows.queries, row_offsets)
    queries: list[Content | None] = list(texts_of_queries)
    if rows.query_media is not None and conflict is None:
        queries, conflict = _with_images(texts_of_queries, rows.query_media, row_offsets)
    if conflict is not None:
        file, row = locate_row(first_row + conflict)
        query_id = query_ids[int(np.searchsorted(row_offsets, conflict, side="right")) - 1]
        raise InputError(
            "two different query texts under one query_id"
            if rows.query_media is None
            else "two different queries under one query_id",
            which=file.location.name,
            found=f"row {row}, query_id {shorten(repr(query_id), 100)}",
            cure="give each query text a query_id of its own",
        )
    candidates, texts, ranks = rows.candidates, rows.texts, _ranks(rows.ranks, offsets)
    media = rows.media
    if drop_repeats:
        keep = _first_occurrences(one_chunk(candidates.column("doc_id")), offsets)
        offsets = np.append(0, np.cumsum(keep))[offsets]
        mask = pa.array(keep)
        ranks, texts, candidates = ranks[keep], texts.filter(mask), candidates.filter(mask)
        media = None if media is None else media.filter(mask)
    return GroupBatch(
        first_group=first_group,
        row_offsets=row_offsets + first_row,
        offsets=offsets,
        query_ids=query_ids,
        queries=queries,
        texts=texts,
        first_stage_rank=ranks,
        candidates=candidates,
        passthrough_bytes=_string_bytes(candidates, offsets),
        media=media,
    )


def _string_bytes(candidates: pa.Table, offsets: IntArray) -> IntArray:
    """Return the bytes in each group's string and binary columns, without ids and nested columns.

    Arrow's own `nbytes` cannot be used: it depends on how the rows were cut into batches.
    """
    num_bytes = np.zeros(len(offsets) - 1, np.int64)
    for column in candidates.columns[2:]:
        if is_string(column.type):
            lengths = pc.binary_length(one_chunk(column)).fill_null(0)
            before = np.append(0, np.cumsum(lengths, dtype=np.int64))
            num_bytes += np.diff(before[offsets])
    return num_bytes


def is_string(kind: pa.DataType) -> bool:
    """Return whether values of a type count as passed-through strings."""
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _one_query_each(queries: Array, row_offsets: IntArray) -> tuple[list[Any], int | None]:
    """Return the query text of each group, from the rows where it is not null.

    Return also the first row whose text differs from an earlier row of its group; None if all
    agree.
    """
    present, texts = np.arange(len(queries)), queries
    if queries.null_count:
        present = np.flatnonzero(queries.is_valid())
        texts = queries.take(present)
    first = np.searchsorted(present, row_offsets[:-1])
    has_text = np.diff(np.append(first, len(present))) > 0
    first = first[has_text]
    differs = np.zeros(len(texts), np.bool_)
    differs[1:] = pc.not_equal(texts.slice(1), texts.slice(0, max(len(texts) - 1, 0)))
    differs[first] = False  # another group
    conflicts = np.flatnonzero(differs)
    found = iter(texts.take(first).to_pylist())
    by_group = [next(found) if has else None for has in has_text]
    return by_group, int(present[conflicts[0]]) if len(conflicts) else None


def _with_images(
    texts: Sequence[str | None], media: Any, row_offsets: IntArray
) -> tuple[list[Content | None], int | None]:
    """Return the query of each group, a text or an image, and the first row of another one."""
    urls, files = media.flatten()
    of_urls, url_conflict = _one_query_each(urls, row_offsets)
    of_files, file_conflict = _one_query_each(files, row_offsets)
    queries: list[Content | None] = []
    conflicts = [row for row in (url_conflict, file_conflict) if row is not None]
    for group, (text, url, data) in enumerate(zip(texts, of_urls, of_files, strict=True)):
        image = media_content(url, data)
        queries.append(text if image is None else image)
        if (not is_blank(text)) + (url is not None) + (data is not None) > 1:
            conflicts.append(int(row_offsets[group]))
    return queries, min(conflicts, default=None)


def _ranks(ranks: Array, offsets: IntArray) -> RankArray:
    """Return the input's ranks, or places in the group where the input has none."""
    if ranks.null_count:
        places = np.arange(len(ranks)) - np.repeat(offsets[:-1], np.diff(offsets))
        return (places + FIRST_RANK).astype(np.int32)
    return np.asarray(ranks, np.int32)


def _first_occurrences(doc_ids: Array, offsets: IntArray) -> BoolArray:
    """Return whether a candidate is the first of its group with its doc_id."""
    encoded = doc_ids.dictionary_encode()
    group = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    codes = group * len(encoded.dictionary) + np.asarray(encoded.indices, np.int64)
    keep = np.zeros(len(doc_ids), np.bool_)
    keep[np.unique(codes, return_index=True)[1]] = True
    return keep
