"""Parsers of the text formats of relevance judgements; `judgements` checks the values."""

import csv
from collections.abc import Callable, Sequence
from typing import Any, Literal

import orjson
import polars as pl
from msgspec import Struct

from pipeline.core.errors import InputError, shorten

COLUMNS = ("query_id", "doc_id", "relevance")

_ALIASES = {
    "query_id": ("query_id",),
    "doc_id": ("doc_id", "corpus_id"),
    "relevance": ("relevance", "score"),
}
"""Our names, then BEIR's (`query-id`, `corpus-id`, `score`); `-` and `_`, and case, are alike."""

_TREC_BLANK, _TREC_FIELD = r"[ \t\r\x0b\x0c]+", r"([^ \t\r\x0b\x0c]+)"
_TREC_LINE = f"^{_TREC_BLANK.join([_TREC_FIELD] * 4)}$"


class RawJudgements(Struct, frozen=True, eq=False):
    """Judgements as read from a file, before their values are checked.

    Attributes:
        which: The file, for messages.
        frame: `place`, then `query_id`, `doc_id` and `relevance` of any type.
        unit: What `place` counts, from 1; rows are counted without the header.
    """

    which: str
    frame: pl.DataFrame
    unit: Literal["row", "line"]


def parse_trec(which: str, content: bytes) -> RawJudgements:
    """Parse lines of four fields separated by blanks or tabs; skip blank lines.

    Raises:
        InputError: for a line with more or fewer fields.
    """
    lines = pl.DataFrame({"line": content.decode().split("\n")}).with_row_index("place", 1)
    lines = lines.with_columns(pl.col("line").str.strip_chars(" \t\r\x0b\x0c"))
    lines = lines.filter(pl.col("line") != "")
    fields = lines.with_columns(pl.col("line").str.extract_groups(_TREC_LINE).alias("fields"))
    fields = fields.unnest("fields")
    bad = fields.filter(pl.col("1").is_null())
    if not bad.is_empty():
        raise InputError(
            f"line {bad['place'][0]} is not one of TREC judgements",
            which=which,
            found=f"{len(bad['line'][0].split())} fields",
            expected="4: query_id iteration doc_id relevance",
            cure="a file with a header is .tsv or .csv; ids with blanks need .tsv, .csv or .jsonl",
        )
    frame = fields.select("place", query_id="1", doc_id="3", relevance="4")
    return RawJudgements(which, frame, "line")


def parse_jsonl(which: str, content: bytes) -> RawJudgements:
    """Parse one JSON object per line, with its values as text; skip blank lines.

    Raises:
        InputError: for a line that is not a JSON object, or lacks a value, or whose ids are
            neither strings nor integers.
    """
    rows: list[tuple[int | str | None, ...]] = []
    for place, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            values = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InputError(f"line {place} is not JSON: {error}", which=which) from error
        if not isinstance(values, dict):
            raise InputError(
                f"line {place} is not a JSON object", which=which, found=type(values).__name__
            )
        sources = find_columns(which, list(values), where=f" in line {place}")
        query_id, doc_id, relevance = (values[source] for source in sources)
        for role, value in (("query_id", query_id), ("doc_id", doc_id)):
            if isinstance(value, bool) or not isinstance(value, str | int | None):
                raise InputError(
                    f"{role} in line {place} is neither a string nor an integer",
                    which=which,
                    found=shorten(str(value), 60),
                )
        rows.append((place, _text(query_id), _text(doc_id), _text(relevance)))
    schema = {"place": pl.UInt32, **dict.fromkeys(COLUMNS, pl.String)}
    return RawJudgements(which, pl.DataFrame(rows, schema=schema, orient="row"), "line")


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def table_parser(separator: str) -> Callable[[str, bytes], RawJudgements]:
    """Return a parser of tables with a header row; it skips rows without any value."""

    def parse(which: str, content: bytes) -> RawJudgements:
        """Parse a table, with its values as text.

        Raises:
            InputError: if it is not a table, or lacks a column.
        """
        try:
            rows = pl.read_csv(
                content,
                separator=separator,
                has_header=False,  # Polars would rename what stands twice in it
                infer_schema=False,
                null_values=[""],
            )
        except pl.exceptions.NoDataError as error:
            raise InputError("is empty", which=which) from error
        except pl.exceptions.PolarsError as error:
            raise _not_a_table(which, content, separator) from error
        names = ["" if name is None else name for name in rows.row(0)]
        sources = find_columns(which, names, cure="a file without a header is .trec or .qrels")
        columns = [rows.columns[names.index(source)] for source in sources]
        frame = rows.select(columns).rename(dict(zip(columns, COLUMNS, strict=True)))
        frame = frame.with_row_index("place").slice(1)
        has_value = pl.any_horizontal(pl.col(COLUMNS).is_not_null())
        return RawJudgements(which, frame.filter(has_value), "row")

    return parse


def _not_a_table(which: str, content: bytes, separator: str) -> InputError:
    """Return the error of a table that Polars cannot parse; name the row if it can be found."""
    rows = csv.reader(content.decode().splitlines(), delimiter=separator)
    try:
        header = next(rows)
        for place, row in enumerate(rows, start=1):
            if len(row) > len(header):
                return InputError(
                    f"row {place} does not fit the header",
                    which=which,
                    found=f"{len(row)} fields",
                    expected=len(header),
                )
    except csv.Error:
        pass  # reported below
    return InputError("cannot be read as a table", which=which, cure="look for an open quote")


def find_columns(
    which: str, names: Sequence[str], *, where: str = "", cure: str | None = None
) -> list[str]:
    """Return the columns that hold query_id, doc_id and relevance, in this order.

    Args:
        which: The file, for messages.
        names: The names of its columns.
        where: The part of the file, for messages.
        cure: What to suggest if a column is missing.

    Raises:
        InputError: if one of them is missing, or is there twice.
    """
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(name.strip().lower().replace("-", "_"), []).append(name)
    found, missing = [], []
    for role, aliases in _ALIASES.items():
        matches = next((alike[alias] for alias in aliases if alias in alike), [])
        if len(matches) > 1:
            raise InputError(f"two columns for {role}{where}", which=which, found=matches)
        found += matches
        missing += [] if matches else [role]
    if missing:
        raise InputError(
            f"missing columns {missing}{where}",
            which=which,
            found=shorten(str(list(names)), 120),
            expected="query_id, doc_id, relevance, or query-id, corpus-id, score",
            cure=cure,
        )
    return found
