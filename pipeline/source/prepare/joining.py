"""Join candidates with the texts of their documents and queries, in bounded memory.

Polars' streaming engine joins; only the texts that are needed are held, and if those are too many,
candidates are joined a slice at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
from msgspec import Struct

from pipeline.core.errors import InputError, shorten
from pipeline.core.preparation import OnMissing
from pipeline.source.prepare.lookup import KEY, VALUE
from pipeline.source.prepare.spool import Rows, stored_tables, write_tables

_SHOWN_IDS: Final = 3


class Join(Struct, frozen=True, eq=False):
    """Texts that candidates are to be joined with.

    Attributes:
        role: Their role: `text` or `query`, or an image or a video in its place.
        id_role: The id by which they are found.
        option: The option that names their files.
        which: The name that the user gave for these.
        texts: `key` and `value`, see `lookup`.
        readable: Returns a context that translates errors of reading them.
        is_binary: Whether they are files.
    """

    role: str
    id_role: str
    option: str
    which: str
    texts: pl.LazyFrame
    readable: Callable[[], AbstractContextManager[None]]
    is_binary: bool = False


class JoinLimits(Struct, frozen=True, kw_only=True):
    """How much is in memory at once; the result does not depend on it.

    Attributes:
        max_text_bytes: Bytes of the texts that are held, by their mean size.
        batch_rows: Candidates of a batch.
    """

    max_text_bytes: int = 640 << 20
    batch_rows: int = 65_536


def join_texts(
    tables: Iterable[pa.Table],
    joins: Sequence[Join],
    spool: Path,
    *,
    candidates: str,
    missing: OnMissing,
    limits: JoinLimits,
) -> Iterator[pa.Table]:
    """Yield the rows of all tables in order, with a column for each join; null where it is missing.

    Args:
        tables: Tables of one schema, with columns `query_id` and `doc_id`.
        joins: What to join.
        spool: A folder for the rows, which are read twice.
        candidates: What the user called the candidates.
        missing: What to do with rows without a text.
        limits: How much is in memory at once.

    Raises:
        InputError: for an id that the texts hold twice, and for missing texts unless they are to be
            skipped.
    """
    id_roles = list(dict.fromkeys(join.id_role for join in joins))
    rows_file, keys_file = spool / "rows.arrow", spool / "keys.arrow"
    keys = pa.schema([(role, pa.large_string()) for role in id_roles])

    def keys_of(table: pa.Table) -> pa.Table:
        columns = [table.column(role).cast(pa.large_string()) for role in id_roles]
        return pa.Table.from_arrays(columns, schema=keys)

    with pa.ipc.new_file(str(keys_file), keys) as writer:

        def kept() -> Iterator[pa.Table]:
            for table in tables:
                writer.write_table(keys_of(table))
                yield table

        num_rows = write_tables(kept(), rows_file)
    wanted = pl.scan_ipc(keys_file, glob=False)
    slice_rows = num_rows
    for join in joins:
        with join.readable():
            rows = _check(wanted, join, candidates, missing, limits)
        slice_rows = min(slice_rows, num_rows if rows is None else rows)
    with stored_tables(rows_file) as stored:
        left = Rows(stored)
        for start in range(0, num_rows, max(1, slice_rows)):
            part = wanted.slice(start, slice_rows)
            for frame in _joined(part, joins, limits):
                columns = frame.to_arrow()
                table = left.take(columns.num_rows)
                assert table is not None
                for join in joins:
                    table = table.append_column(join.role, columns.column(join.role))
                yield table


def _joined(
    part: pl.LazyFrame, joins: Sequence[Join], limits: JoinLimits
) -> Iterator[pl.DataFrame]:
    """Yield the texts of the rows of a slice, in order."""
    frame = part
    for join in joins:
        needed = join.texts.join(
            part.select(pl.col(join.id_role).unique()),
            left_on=KEY,
            right_on=join.id_role,
            how="semi",
        )
        frame = frame.join(
            needed.rename({VALUE: join.role}),
            left_on=join.id_role,
            right_on=KEY,
            how="left",
            maintain_order="left",
        )
    frame = frame.select([join.role for join in joins])
    yield from frame.collect_batches(
        chunk_size=limits.batch_rows, maintain_order=True, engine="streaming"
    )


def _check(
    rows: pl.LazyFrame, join: Join, candidates: str, missing: OnMissing, limits: JoinLimits
) -> int | None:
    """Return how many rows may be joined at once; None if all of them.

    Raises:
        InputError: for ids that occur twice, and for missing texts unless they are to be skipped.
    """
    wanted = (
        rows.filter(pl.col(join.id_role).is_not_null())  # null: a query without candidates
        .group_by(join.id_role)
        .agg(num_rows=pl.len())
        .collect(engine="streaming")
    )
    found = (
        join.texts.select(
            KEY, size=pl.col(VALUE).bin.size() if join.is_binary else pl.col(VALUE).str.len_bytes()
        )
        .join(wanted.lazy().select(join.id_role), left_on=KEY, right_on=join.id_role, how="semi")
        .collect(engine="streaming")
    )
    if found[KEY].n_unique() < found.height:
        twice = found.filter(pl.col(KEY).is_duplicated())[KEY].min()
        raise InputError(
            f"an id occurs twice in {join.option}",
            which=join.which,
            found=shorten(repr(twice), 60),
            cure="give each id one row",
        )
    if found.height < wanted.height and missing == "error":
        raise _missing(
            wanted.join(found, left_on=join.id_role, right_on=KEY, how="anti"),
            wanted,
            join,
            candidates,
        )
    num_bytes = int(found["size"].sum())
    if num_bytes <= limits.max_text_bytes:
        return None
    return max(1, limits.max_text_bytes * found.height // num_bytes)


def _missing(lost: pl.DataFrame, wanted: pl.DataFrame, join: Join, candidates: str) -> InputError:
    examples = lost[join.id_role].sort().head(_SHOWN_IDS).to_list()
    shown = ", ".join(shorten(repr(example), 40) for example in examples)
    num_rows = int(lost["num_rows"].sum())
    more = ", ..." if lost.height > len(examples) else ""
    if lost.height == wanted.height:
        key = join.texts.select(KEY).head(1).collect(engine="streaming")[KEY].to_list()
        if key:
            more += f", and there are such as {shorten(repr(key[0]), 40)}"
    return InputError(
        f"{lost.height:,} of {wanted.height:,} values of {join.id_role} are not in {join.option}",
        which=candidates,
        found=f"{num_rows:,} candidates: {shown}{more}",
        cure=f"add them to {join.which}, or use --missing skip",
    )
