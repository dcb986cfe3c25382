"""Small tables of candidates, and ways to write and read them back."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.groups import Group, GroupBatch, TextMeasures
from pipeline.core.records import Ranking, Reject
from pipeline.source.listing import list_input
from pipeline.source.source import Source

HOSTILE = Path(__file__).resolve().parents[3] / "shared" / "data" / "hostile"


def candidates(sizes: Sequence[int] = (2, 3), **columns: Any) -> pa.Table:
    """Return a table of groups of the given sizes; keywords replace or add columns."""
    numbers = [number for number, size in enumerate(sizes) for _ in range(size)]
    places = [place for size in sizes for place in range(size)]
    pairs = list(zip(numbers, places, strict=True))
    table = {
        "query_id": pa.array([f"q{number}" for number in numbers], pa.string()),
        "query": pa.array([f"query {number}" for number in numbers], pa.string()),
        "doc_id": pa.array([f"d{number}-{place}" for number, place in pairs], pa.string()),
        "text": pa.array([f"text {number} {place}" for number, place in pairs], pa.string()),
    }
    return pa.table(table | columns)


def write(table: pa.Table, path: Path, **options: Any) -> Path:
    """Write one file, and its folder if it is missing; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def write_cut(table: pa.Table, folder: Path, cuts: Iterable[int], row_group_size: int) -> Path:
    """Write a folder of files, with a new file from each row in `cuts` on; return the folder."""
    borders = sorted({0, table.num_rows, *(min(cut, table.num_rows) for cut in cuts)})
    for number, (start, stop) in enumerate(pairwise(borders)):
        part = table.slice(start, stop - start)
        write(part, folder / f"f{number:03d}.parquet", row_group_size=row_group_size)
    return folder


def no_measures(num_texts: int) -> TextMeasures:
    """Return measures for tests that do not use them."""
    zeros = np.zeros(num_texts, np.int64)
    return TextMeasures(zeros, zeros, zeros.astype(np.uint64), zeros.astype(np.bool_))


def groups_of(batches: Iterable[GroupBatch]) -> list[Group]:
    """Return all groups of the batches."""
    return [
        group for batch in batches for group in batch.iter_groups(no_measures(len(batch.texts)))
    ]


def open_source(path: Path, **how: Any) -> Source:
    """Open the candidates below a path."""
    return Source(list_input(str(path)), **how)


def read_groups(source: Source, **how: Any) -> list[Group]:
    """Return all groups of a source."""
    return groups_of(source.iter_batches(**how))


def facts(group: Group) -> tuple[object, ...]:
    """Return a group as plain values, for comparisons."""
    return (
        group.output.index,
        group.output.first_row,
        group.query_id,
        group.query,
        group.texts.to_pylist(),
        group.first_stage_rank.tolist(),
        group.output.candidates.to_pylist(),
        group.output.num_rows,
    )


def rank_by(group: Group, scores: Sequence[float | None], **how: Any) -> Ranking:
    """Rank a group by scores in row order; None rejects the candidate."""
    values = np.array([np.nan if score is None else score for score in scores], np.float64)
    missing = np.flatnonzero(np.isnan(values))
    default = tuple(Reject(int(row), "bad_answer", "nan", "not a number") for row in missing)
    how = {"merge_status": "single_request", "rejects": default} | how
    return Ranking(group.output, values, tie_break=np.arange(len(values)), **how)
