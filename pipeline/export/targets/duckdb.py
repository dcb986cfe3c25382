"""DuckDB: an embedded database, one file; a part is one transaction."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.core.errors import OutputBusy, OutputFailed, OutputMismatch, shorten
from pipeline.export.ids import without_repeats
from pipeline.export.json_text import to_frame
from pipeline.export.targets import sql
from pipeline.export.targets.target import State, TargetTable, missing_extra


class DuckDbTarget:
    """A database file, made if it is missing; see `Target`.

    Args:
        path: Of the file.

    Raises:
        SettingsError: without the extra `duckdb`.
    """

    def __init__(self, path: str) -> None:
        try:
            import duckdb
        except ModuleNotFoundError as error:
            raise missing_extra("duckdb") from error
        self._duckdb: Any = duckdb
        self._path = path
        self._connection: Any = None

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Hold the file, which no other process can write meanwhile."""
        if not (parent := Path(self._path).absolute().parent).is_dir():
            raise OutputFailed("no such folder", which=parent, cure="create it")
        try:
            self._connection = self._duckdb.connect(self._path)
        except self._duckdb.IOException as error:
            if "lock" in str(error):
                raise OutputBusy("another process holds this database", which=self._path) from error
            what = "is not a DuckDB database, or cannot be opened"
            raise OutputMismatch(what, which=self._path, cure="choose another file") from error
        try:
            yield
        finally:
            self._connection.close()

    def prepare(self, table: TargetTable) -> State:
        """Make the table if it is missing, else check it."""
        with self._errors(table):
            empty = table.columns.empty_table()
            self._connection.register("rerank_rows", empty)
            expected = self._columns("rerank_rows")
            self._connection.unregister("rerank_rows")
            found = self._find(table)
            if found is None:
                self._connection.execute(sql.create_table(table, expected))
            else:
                sql.refuse_other_columns(table, expected, self._columns(sql.qualified(table.name)))
                sql.refuse_other_key(table, self._keys(found))
            (count,) = self._one(f"SELECT count(*) FROM {sql.qualified(table.name)}")
            return State("", count)  # numbers of tables change when the file is opened again

    def load(self, table: TargetTable, rows: Iterable[pa.Table]) -> int:
        """Load a part in one transaction."""
        run, repeated = self._connection.execute, 0
        with self._errors(table):
            run("BEGIN")
            try:
                names = sql.quoted(*table.columns.names)
                run(
                    f"CREATE OR REPLACE TEMP TABLE {sql.STAGING} AS"
                    f" SELECT {names} FROM {sql.qualified(table.name)} LIMIT 0"
                )
                for batch in rows:
                    kept = without_repeats(to_frame(batch.select(list(table.key))), table.key)
                    repeated += batch.num_rows - kept.height
                    self._stage(table, batch, is_whole=kept.height == batch.num_rows)
                if table.mode == "replace":
                    run(sql.delete_gone(table))
                run(sql.upsert(table))
                run(f"DROP TABLE {sql.STAGING}")
                run("COMMIT")
            except BaseException:  # raised again, whatever it is
                run("ROLLBACK")
                raise
        return repeated

    def _stage(self, table: TargetTable, batch: pa.Table, *, is_whole: bool) -> None:
        if not is_whole:
            numbered = to_frame(batch.select(list(table.key))).with_row_index("row")
            batch = batch.take(without_repeats(numbered, table.key)["row"].to_arrow())
        self._connection.register("rerank_rows", batch)
        names = sql.quoted(*table.columns.names)
        self._connection.execute(f"INSERT INTO {sql.STAGING} SELECT {names} FROM rerank_rows")
        self._connection.unregister("rerank_rows")

    def _find(self, table: TargetTable) -> int | None:
        """Return the number of the table; None if there is none."""
        name, schema = _name_and_schema(table.name)
        row = self._connection.execute(
            "SELECT table_oid FROM duckdb_tables() WHERE table_name = ?"
            " AND schema_name = coalesce(?, current_schema())"
            " AND database_name = current_database()",
            [name, schema],
        ).fetchone()
        return None if row is None else int(row[0])

    def _columns(self, relation: str) -> dict[str, str]:
        rows = self._connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
        return {row[0]: row[1] for row in rows}

    def _keys(self, table_oid: int) -> list[frozenset[str]]:
        rows = self._connection.execute(
            "SELECT constraint_column_names FROM duckdb_constraints() WHERE table_oid = ?"
            " AND constraint_type IN ('PRIMARY KEY', 'UNIQUE')"
            " AND database_name = current_database()",
            [table_oid],
        ).fetchall()
        return [frozenset(row[0]) for row in rows]

    def _one(self, statement: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._connection.execute(statement).fetchone()
        return row

    @contextmanager
    def _errors(self, table: TargetTable) -> Iterator[None]:
        try:
            yield
        except self._duckdb.Error as error:
            kind = type(error).__name__
            # Only these messages never repeat a value of a row.
            is_safe = isinstance(error, self._duckdb.IOException | self._duckdb.CatalogException)
            what = f"DuckDB failed: {kind}" + (f": {shorten(str(error), 160)}" if is_safe else "")
            raise OutputFailed(what, which=f"{self._path}, table {table.name}") from error


def _name_and_schema(table: str) -> tuple[str, str | None]:
    schema, dot, name = table.rpartition(".")
    return name, schema if dot else None
