"""Keep intermediate rows in files, and read them again a piece at a time."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa


def write_tables(tables: Iterable[pa.Table], path: Path) -> int:
    """Write tables of one schema, at least one, to an Arrow file; return the number of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tables = iter(tables)
    first = next(tables)
    num_rows = first.num_rows
    with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_file(stream, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)
            num_rows += table.num_rows
    return num_rows


@contextmanager
def stored_tables(path: Path) -> Iterator[Iterator[pa.Table]]:
    """Yield an iterator over the rows that `write_tables` wrote, a record batch at a time."""
    with pa.OSFile(str(path), "rb") as stream, pa.ipc.open_file(stream) as reader:
        yield (
            pa.Table.from_batches([reader.get_batch(at)]) for at in range(reader.num_record_batches)
        )


class Rows:
    """A stream of tables of one schema, from which any number of rows can be taken.

    Args:
        tables: What it holds, in order.
    """

    def __init__(self, tables: Iterable[pa.Table]) -> None:
        self._tables = iter(tables)
        self._rest: list[pa.Table] = []

    def take(self, num_rows: int) -> pa.Table | None:
        """Return the next rows: fewer at the end, then None."""
        have = sum(table.num_rows for table in self._rest)
        while have < num_rows and (table := next(self._tables, None)) is not None:
            self._rest.append(table)
            have += table.num_rows
        if not have:
            return None
        whole = pa.concat_tables(self._rest)
        self._rest = [whole.slice(num_rows)]
        return whole.slice(0, num_rows)
