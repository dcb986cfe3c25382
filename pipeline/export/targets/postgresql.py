"""PostgreSQL: COPY into a staging table, then one upsert; a part is one transaction."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import polars as pl
import pyarrow as pa

from pipeline.core.errors import (
    InputError,
    OutputFailed,
    ServiceRefused,
    SettingsError,
    shorten,
)
from pipeline.export.ids import without_repeats
from pipeline.export.json_text import to_frame
from pipeline.export.targets import sql
from pipeline.export.targets.postgresql_types import as_csv, column_type, find_nul
from pipeline.export.targets.target import ServerDown, State, TargetTable, missing_extra

_CONNECT_S: Final = 10
_PASSING: Final = ("08", "53", "57P", "40", "55P03", "58")
"""Codes with these prefixes pass by themselves: connection, resources, shutdown, deadlock, system
error (postgresql.org/docs/current/errcodes-appendix.html)."""
_REFUSALS: Final = ("28", "3D", "3F", "42501", "25006")
"""Login, database, schema, permission, read-only: a person must act."""
_REFUSED_LOGIN: Final = (
    *("authentication failed", "does not exist", "no pg_hba.conf entry", "no password supplied"),
    *("not permitted to log in", "permission denied", "invalid connection option"),
)
"""The client gives no code for a failed login. Any other failure, such as that of a server that is
starting, counts as an outage and is tried again."""

_COLUMNS: Final = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""
_KEYS: Final = """
SELECT array_agg(a.attname::text) FROM pg_index i
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
WHERE i.indrelid = %s AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
GROUP BY i.indexrelid"""


class PostgresqlTarget:
    """A database; see `Target`. Passwords come from PGPASSWORD, PGPASSFILE or a service file.

    Args:
        address: `postgresql://[USER@]HOST[:PORT]/DATABASE[?OPTION=VALUE]`, without a password.

    Raises:
        SettingsError: without the extra `postgresql`.
    """

    def __init__(self, address: str) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise missing_extra("postgresql") from error
        self._psycopg: Any = psycopg
        self._address = address
        self._connection: Any = None

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Hold a connection; leaving the body undoes what was not committed."""
        try:
            self._connection = self._psycopg.connect(
                self._address, connect_timeout=_CONNECT_S, application_name="rerank"
            )
        except self._psycopg.ProgrammingError as error:
            what = f"not a usable address: {shorten(str(error), 160)}"
            raise SettingsError(what, which="--to") from error
        except self._psycopg.OperationalError as error:
            message = shorten(str(error), 200)
            if any(text in message for text in _REFUSED_LOGIN):
                raise ServiceRefused(
                    f"PostgreSQL refuses the connection: {message}",
                    which="--to",
                    cure="check user, database, and PGPASSWORD or ~/.pgpass",
                ) from error
            raise ServerDown(message) from error
        try:
            yield
        finally:
            self._connection.close()

    def prepare(self, table: TargetTable) -> State:
        """Make the table if it is missing, else check it."""
        expected = {field.name: column_type(field.name, field.type) for field in table.columns}
        with self._errors(table), self._connection.transaction():
            oid = self._oid(table)
            if oid is None:
                self._create(table, expected)
                oid = self._oid(table)
            else:
                found = dict(self._connection.execute(_COLUMNS, [oid]).fetchall())
                sql.refuse_other_columns(table, expected, found)
                rows = self._connection.execute(_KEYS, [oid]).fetchall()
                sql.refuse_other_key(table, [frozenset(row[0]) for row in rows])
            (count,) = self._connection.execute(
                f"SELECT count(*) FROM {sql.qualified(table.name)}"
            ).fetchone()
            return State(str(oid), count)

    def _create(self, table: TargetTable, types: dict[str, str]) -> None:
        errors = self._psycopg.errors
        try:
            self._connection.execute(sql.create_table(table, types))
        except (errors.DuplicateTable, errors.UniqueViolation) as error:
            raise ServerDown("another process makes the table at this moment") from error

    def load(self, table: TargetTable, rows: Iterable[pa.Table]) -> int:
        """Load a part in one transaction."""
        with self._errors(table), self._connection.transaction():
            repeated = self._stage(table, rows)
            self._connection.execute(f"ANALYZE {sql.STAGING}")
            if table.mode == "replace":
                self._connection.execute(sql.delete_gone(table))
            self._connection.execute(sql.upsert(table))
        return repeated

    def stage(self, table: TargetTable, rows: Iterable[pa.Table]) -> None:
        """Copy rows into the staging table and do nothing else; for measurements."""
        with self._errors(table), self._connection.transaction():
            self._stage(table, rows)

    def _stage(self, table: TargetTable, rows: Iterable[pa.Table]) -> int:
        self._connection.execute(
            f"CREATE TEMP TABLE {sql.STAGING} (LIKE {sql.qualified(table.name)}) ON COMMIT DROP"
        )
        names = sql.quoted(*table.columns.names)
        copy = f"COPY {sql.STAGING} ({names}) FROM STDIN (FORMAT csv)"
        last: pl.DataFrame | None = None
        repeated = 0
        try:
            with self._connection.cursor().copy(copy) as staging:
                for batch in rows:
                    last = to_frame(batch)
                    kept = without_repeats(last, table.key)
                    repeated += last.height - kept.height
                    staging.write(as_csv(kept))
        except self._psycopg.DataError as error:
            if last is not None and (place := find_nul(last)) is not None:
                raise InputError(
                    f"column {place[0]} holds a NUL character, which PostgreSQL refuses",
                    which=f"query {place[1]!r}"[:80],
                ) from error
            raise
        return repeated

    def _oid(self, table: TargetTable) -> int | None:
        row = self._connection.execute(
            "SELECT to_regclass(%s)::oid", [sql.qualified(table.name)]
        ).fetchone()
        return None if row[0] is None else int(row[0])

    @contextmanager
    def _errors(self, table: TargetTable) -> Iterator[None]:
        try:
            yield
        except self._psycopg.Error as error:
            code = error.sqlstate or ""
            lost = self._connection.closed or (
                isinstance(error, self._psycopg.OperationalError) and not code
            )
            said = shorten(error.diag.message_primary or "the connection was lost", 160)
            if lost or code.startswith(_PASSING):
                raise ServerDown(said) from error
            if code.startswith(_REFUSALS):
                raise ServiceRefused(
                    f"PostgreSQL refuses: {said}", which=table.name, cure="grant what is missing"
                ) from error
            # Messages about data may repeat a value of a row.
            shown = f"{code} {type(error).__name__}" + (f": {said}" if code[:2] == "42" else "")
            raise OutputFailed(f"PostgreSQL failed: {shown}", which=table.name) from error
