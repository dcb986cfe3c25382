"""Data sets of random words: every text of its own, the rows of a query adjacent."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

NUM_WORDS, WORDS_PER_QUERY = 4_000, 6
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
ROWS_PER_ROW_GROUP = 100_000
"""About as many as common writers put into one."""
ROWS_AT_ONCE = 100_000

SCHEMA = pa.schema(
    [
        ("query_id", pa.string()),
        ("query", pa.string()),
        ("doc_id", pa.string()),
        ("text", pa.string()),
        ("first_stage_score", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Shape:
    """Groups of one kind: documents in a group, characters in a document, script."""

    documents: int
    characters: int
    script: Literal["latin", "chinese"] = "latin"


def make_dataset(
    path: Path,
    groups: int,
    shape: Shape,
    rows_per_row_group: int = ROWS_PER_ROW_GROUP,
    seed: int = 7,
) -> None:
    """Write so many groups, a few at a time; the same ones for the same arguments."""
    tables = _tables(groups, shape, seed)
    held: list[pa.Table] = []
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for table in tables:
            held.append(table)
            if sum(part.num_rows for part in held) >= rows_per_row_group:
                _write(writer, held, rows_per_row_group)
        if held:
            _write(writer, held, rows_per_row_group)


def _write(writer: pq.ParquetWriter, held: list[pa.Table], rows_per_row_group: int) -> None:
    """Write the tables that are held, as one row group where they fit into it."""
    writer.write_table(pa.concat_tables(held), row_group_size=rows_per_row_group)
    held.clear()


def _tables(groups: int, shape: Shape, seed: int) -> Iterator[pa.Table]:
    """Yield the groups, in tables of whole groups."""
    words, between = _words(shape)
    length = sum(map(len, words)) // len(words) + len(between)
    vocabulary, dice = pa.array(words), np.random.default_rng(seed)

    def texts(count: int, num_words: int) -> pa.StringArray:
        drawn = pa.array(dice.integers(0, len(words), count * num_words, dtype=np.int32))
        starts = pa.array(np.arange(count + 1, dtype=np.int32) * num_words)
        lists = pa.ListArray.from_arrays(starts, vocabulary.take(drawn))
        return pc.binary_join(lists, between)

    at_once = max(1, ROWS_AT_ONCE // shape.documents)
    for start in range(0, groups, at_once):
        numbers = np.arange(start, min(start + at_once, groups))
        group = np.repeat(np.arange(len(numbers)), shape.documents)
        place = np.tile(np.arange(shape.documents), len(numbers))
        number = pa.array(numbers).cast(pa.string()).take(pa.array(group))
        columns = [
            pc.binary_join_element_wise("q", number, ""),
            texts(len(numbers), WORDS_PER_QUERY).take(pa.array(group)),
            pc.binary_join_element_wise("d", number, "-", pa.array(place).cast(pa.string()), ""),
            texts(len(group), shape.characters // length + 1),
            pa.array(1.0 / (place + 1)),
        ]
        yield pa.table(columns, schema=SCHEMA)


def _words(shape: Shape) -> tuple[list[str], str]:
    """Return the vocabulary, and the separator of two words."""
    dice = random.Random(7)
    if shape.script == "chinese":
        return [
            "".join(chr(dice.randint(0x4E00, 0x9FA5)) for _ in range(2)) for _ in range(NUM_WORDS)
        ], ""
    return [
        "".join(dice.choices(LETTERS, range(len(LETTERS), 0, -1), k=dice.randint(2, 9)))
        for _ in range(NUM_WORDS)
    ], " "
