"""One GroupBatch from the candidates of whole groups; computed by column, never by row."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import BoolArray, IntArray
from pipeline.core.errors import InputError, shorten
from pipeline.core.groups import FIRST_RANK, GroupBatch, Id
from pipeline.source.arrow import Array, joined
from pipeline.source.layouts.long import WORK_COLUMNS


def make_group_batch(
    pieces: list[pa.RecordBatch],
    starts: IntArray,
    *,
    first_group: int,
    first_row: int,
    drop_repeats: bool,
) -> GroupBatch:
    """Join pieces that begin and end with a group.

    Without ranks in the input a candidate's rank is its place in the group, counted before
    repeats are dropped.

    Args:
        pieces: Batches of candidates, see `CandidateColumns`.
        starts: The first row of each group.
        first_group: Index of the first group in the dataset.
        first_row: Row of the first candidate in the dataset.
        drop_repeats: Keep only the first candidate of each doc_id in a group.

    Raises:
        InputError: for a group with two query texts.
    """
    table = pa.Table.from_batches(pieces)
    offsets = np.append(starts, table.num_rows)
    num_carried = table.num_columns - len(WORK_COLUMNS)
    query, texts, rank = (joined(table.column(num_carried + at)) for at in range(3))
    query_ids: list[Id] = joined(table.column(0)).take(starts).to_pylist()
    queries = _one_query_each(query, offsets, query_ids)
    ranks = _ranks(rank, offsets)
    rows = table.select(range(num_carried))
    dropped = None
    if drop_repeats:
        keep = _first_occurrences(joined(rows.column(1)), offsets)
        kept = np.append(0, np.cumsum(keep))[offsets]
        dropped = np.diff(offsets) - np.diff(kept)
        mask = pa.array(keep)
        offsets, ranks, texts, rows = kept, ranks[keep], texts.filter(mask), rows.filter(mask)
    return GroupBatch(
        first_group=first_group,
        first_row=first_row,
        offsets=offsets,
        query_ids=query_ids,
        queries=queries,
        texts=texts,
        first_stage_rank=ranks,
        rows=rows,
        passthrough_bytes=_string_bytes(rows, offsets),
        dropped=dropped,
    )


def _string_bytes(rows: pa.Table, offsets: IntArray) -> IntArray:
    """Bytes in the string and binary columns of each group; ids and nested columns left out.

    Arrow's own `nbytes` would not do: it depends on how the rows were cut into batches.
    """
    num_bytes = np.zeros(len(offsets) - 1, np.int64)
    for column in rows.columns[2:]:
        if _is_string(column.type):
            lengths = pc.binary_length(joined(column)).fill_null(0)
            num_bytes += np.add.reduceat(np.asarray(lengths, np.int64), offsets[:-1])
    return num_bytes


def _is_string(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _one_query_each(
    query: pa.LargeStringArray, offsets: IntArray, query_ids: list[Id]
) -> list[str | None]:
    """The query text of each group: the one that its rows have, where they are not null."""
    present = np.flatnonzero(query.is_valid())
    texts = query.take(present) if query.null_count else query
    group = np.searchsorted(offsets, present, side="right") - 1
    differs = pc.not_equal(texts.slice(1), texts.slice(0, max(len(texts) - 1, 0)))
    conflict = (group[1:] == group[:-1]) & np.asarray(differs, np.bool_)
    if conflict.any():
        query_id = query_ids[group[int(conflict.argmax())]]
        raise InputError(
            "two different query texts under one query_id",
            which=f"query_id {shorten(repr(query_id), 100)}",
            cure="give each query text a query_id of its own",
        )
    first = np.searchsorted(present, offsets[:-1])
    has_text = np.diff(np.append(first, len(present))) > 0
    found = iter(texts.take(first[has_text]).to_pylist())
    return [next(found) if has else None for has in has_text]


def _ranks(rank: pa.Int32Array, offsets: IntArray) -> npt.NDArray[np.int32]:
    """The input's ranks, or places in the group where the input has none."""
    if rank.null_count:
        places = np.arange(len(rank)) - np.repeat(offsets[:-1], np.diff(offsets))
        return (places + FIRST_RANK).astype(np.int32)
    return np.asarray(rank, np.int32)


def _first_occurrences(doc_ids: Array, offsets: IntArray) -> BoolArray:
    """Whether a row is the first of its group with its doc_id."""
    encoded = doc_ids.dictionary_encode()
    group = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    codes = group * len(encoded.dictionary) + np.asarray(encoded.indices, np.int64)
    keep = np.zeros(len(doc_ids), np.bool_)
    keep[np.unique(codes, return_index=True)[1]] = True
    return keep
