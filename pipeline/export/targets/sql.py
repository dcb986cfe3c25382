"""Statements that DuckDB and PostgreSQL share: a staging table, then one upsert."""

from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.core.errors import OutputMismatch
from pipeline.export.targets.target import TargetTable

STAGING: Final = "rerank_staging"
_SHOWN: Final = 4


def quoted(*names: str) -> str:
    """Return names as SQL identifiers, with commas between them."""
    return ", ".join('"' + name.replace('"', '""') + '"' for name in names)


def qualified(table: str) -> str:
    """Return `TABLE` or `SCHEMA.TABLE` as an SQL identifier."""
    return ".".join(quoted(part) for part in table.split("."))


def create_table(table: TargetTable, types: Mapping[str, str]) -> str:
    """Return the statement that makes a table with its key."""
    key = set(table.key)
    columns = ", ".join(
        f"{quoted(name)} {kind}" + (" NOT NULL" if name in key else "")
        for name, kind in types.items()
    )
    return f"CREATE TABLE {qualified(table.name)} ({columns}, PRIMARY KEY ({quoted(*table.key)}))"


def upsert(table: TargetTable) -> str:
    """Return the statement that adds or replaces the staged rows."""
    names = table.columns.names
    changed = [name for name in names if name not in table.key]
    values = ", ".join(f"{quoted(name)} = EXCLUDED.{quoted(name)}" for name in changed)
    return (
        f"INSERT INTO {qualified(table.name)} ({quoted(*names)})"
        f" SELECT {quoted(*names)} FROM {STAGING}"
        f" ON CONFLICT ({quoted(*table.key)}) DO UPDATE SET {values}"
    )


def delete_gone(table: TargetTable) -> str:
    """Return the statement that removes rows of staged queries that are not staged."""
    query = [name for name in table.key if name != "doc_id"]
    of_query = quoted(*query)
    same = " AND ".join(f"s.{quoted(name)} = t.{quoted(name)}" for name in table.key)
    return (
        f"DELETE FROM {qualified(table.name)} AS t"
        f" WHERE ({', '.join(f't.{quoted(name)}' for name in query)})"
        f" IN (SELECT DISTINCT {of_query} FROM {STAGING})"
        f" AND NOT EXISTS (SELECT 1 FROM {STAGING} AS s WHERE {same})"
    )


def refuse_other_columns(
    table: TargetTable, expected: Mapping[str, str], found: Mapping[str, str]
) -> None:
    """Refuse a table whose columns are not those of the rows.

    Raises:
        OutputMismatch: naming the columns and their types.
    """
    differences = [
        f"{name} is {found.get(name, 'missing')} there, {expected.get(name, 'not in OUTPUT')} here"
        for name in dict.fromkeys([*expected, *found])
        if expected.get(name) != found.get(name)
    ]
    if differences:
        more = len(differences) - _SHOWN
        raise OutputMismatch(
            "the table has other columns: "
            + "; ".join(differences[:_SHOWN])
            + (f"; and {more} more" if more > 0 else ""),
            which=table.name,
            cure="choose another --table, or change this one",
        )


def refuse_other_key(table: TargetTable, keys: Sequence[frozenset[str]]) -> None:
    """Refuse a table in which the key is not unique.

    Raises:
        OutputMismatch: if none of its unique keys is that of the rows.
    """
    if frozenset(table.key) not in keys:
        raise OutputMismatch(
            "the table has no primary key or unique index of exactly these columns",
            which=table.name,
            expected=", ".join(table.key),
            cure="add one, or choose another --table",
        )
