"""Read files of text formats as lazy frames, and find the line that a parser could not read.

Messages never repeat those of a parser, which may quote a text.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import orjson
import polars as pl

from pipeline.core.errors import InputError, shorten
from pipeline.source.prepare.named_files import Format

PARSER_ERRORS: Final = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""Errors that Polars raises for a damaged file; it panics over some damage of Parquet."""
_SEPARATORS: Final = {"csv": ",", "tsv": "\t"}
_QUOTES: Final = {"csv": '"', "tsv": None}
"""TSV has no quotes: collections such as MS MARCO's hold single quote characters."""
_CURES: Final = {
    "jsonl": "write an object a line, without a byte order mark, each name with one type of value",
    "csv": "check for rows with too many fields, or an open quote",
    "tsv": "check for rows with too many fields",
}
_TREC_COLUMNS: Final = ("query_id", "doc_id", "first_stage_rank", "first_stage_score")
_TREC_LINE: Final = r"^\s*(\S+)\s+\S+\s+(\S+)\s+(-?\d+)\s+(\S+)\s+\S+\s*$"
_NUMBERS: Final = {"first_stage_rank": pl.Int32, "first_stage_score": pl.Float64}
"""Columns of numbers in formats that have only strings."""


def scan_rows(path: Path, which: str, kind: Format) -> pl.LazyFrame:
    """Return the rows of a file, with all its columns.

    Ids of CSV, TSV and TREC are strings. JSON values keep their types, which all lines tell.

    Raises:
        InputError: for a file without a header, or of another format.
    """
    if kind == "jsonl":
        with parsing(path, which, kind):
            frame = pl.scan_ndjson(_escaped(path), infer_schema_length=None)
            frame.collect_schema()
        return frame
    if kind == "trec":
        return _scan_trec(path, which)
    return _with_numbers(_scan_table(path, which, kind, has_header=True), path, which)


def scan_fields(path: Path, which: str, kind: Format, header: tuple[str, ...]) -> pl.LazyFrame:
    """Return the rows of a file of texts by id, all columns as strings.

    Args:
        path: The file.
        which: What the user called it.
        kind: JSON lines, CSV or TSV.
        header: Names of the id's column; a table of two columns without any of them in its first
            line has no header: its columns are an id and a text.

    Raises:
        InputError: as `scan_rows`, and for a TREC run.
    """
    if kind == "jsonl":
        names = _json_names(path, which)
        return pl.scan_ndjson(_escaped(path), schema=dict.fromkeys(names, pl.String))
    if kind == "trec":
        raise InputError(
            "a TREC run holds no texts", which=which, expected=".jsonl, .tsv, .csv or .parquet"
        )
    frame = _scan_table(path, which, kind, has_header=True)
    names = frame.collect_schema().names()
    if len(names) == 2 and not {*header} & {*names}:
        frame = _scan_table(path, which, kind, has_header=False)
        return frame.rename(dict(zip(frame.collect_schema().names(), ("_id", "text"), strict=True)))
    return frame


@contextmanager
def parsing(path: Path, which: str, kind: Format) -> Iterator[None]:
    """Translate the errors of a parser; name the first line that it cannot read.

    Raises:
        InputError: in place of them.
    """
    try:
        yield
    except (*PARSER_ERRORS, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # a full disk, for example
            raise
        raise explain_failure(path, which, kind) from error


def explain_failure(path: Path, which: str, kind: Format) -> InputError:
    """Return the error for a file that a parser could not read, with its first bad line."""
    line = _bad_json_line(path) if kind == "jsonl" else _not_utf8_line(path)
    return InputError(
        f"line {line[0]} {line[1]}" if line else f"cannot be read as {kind}",
        which=which,
        cure=None if line else _CURES.get(kind),
    )


def has_bad_line(path: Path, kind: Format) -> bool:
    """Return whether a file of text has a line that no parser reads."""
    return (_bad_json_line(path) if kind == "jsonl" else _not_utf8_line(path)) is not None


def _escaped(path: Path) -> str:
    """Return a path whose characters stand for themselves where a glob is expected."""
    return re.sub(r"[*?\[]", r"[\g<0>]", str(path))


def _scan_table(path: Path, which: str, kind: Format, *, has_header: bool) -> pl.LazyFrame:
    with parsing(path, which, kind):
        try:
            frame = pl.scan_csv(
                path,
                glob=False,
                separator=_SEPARATORS[kind],
                quote_char=_QUOTES[kind],
                has_header=has_header,
                infer_schema=False,
            )
            names = frame.collect_schema().names()
        except pl.exceptions.NoDataError as error:
            raise InputError("is empty, without a header", which=which) from error
    twice = [name for name in names if name.endswith("_duplicated_0")]
    if twice:
        raise InputError(
            f"more than one column is called {twice[0].removesuffix('_duplicated_0')!r}",
            which=which,
            cure="give each column a name of its own",
        )
    return frame


def _with_numbers(frame: pl.LazyFrame, path: Path, which: str) -> pl.LazyFrame:
    """Return the frame with numbers for ranks and scores."""
    for name, kind in _NUMBERS.items():
        if name in frame.collect_schema():
            with parsing(path, which, "csv"):
                column = pl.col(name)
                bad = (
                    frame.select(name)
                    .with_row_index("row")
                    .filter(column.is_not_null() & column.cast(kind, strict=False).is_null())
                    .head(1)
                    .collect(engine="streaming")
                )
            if not bad.is_empty():
                raise InputError(
                    f"column {name!r} holds no number",
                    which=which,
                    found=f"row {bad['row'][0]}: {shorten(repr(bad[name][0]), 40)}",
                )
            frame = frame.with_columns(column.cast(kind))
    return frame


def _scan_trec(path: Path, which: str) -> pl.LazyFrame:
    """Return the rows of a TREC run: query_id Q0 doc_id rank score tag."""
    with parsing(path, which, "trec"):
        lines = pl.scan_lines(path, name="line", glob=False).with_row_index("row", 1)
        lines = lines.filter(pl.col("line").str.strip_chars() != "")
        fields = lines.select(
            "row", "line", groups=pl.col("line").str.extract_groups(_TREC_LINE)
        ).with_columns(
            query_id=pl.col("groups").struct.field("1"),
            doc_id=pl.col("groups").struct.field("2"),
            first_stage_rank=pl.col("groups").struct.field("3").cast(pl.Int32, strict=False),
            first_stage_score=pl.col("groups").struct.field("4").cast(pl.Float64, strict=False),
        )
        is_bad = pl.any_horizontal(pl.col(_TREC_COLUMNS).is_null())
        bad = fields.filter(is_bad).select("row", "line").head(1).collect(engine="streaming")
    if not bad.is_empty():
        raise InputError(
            f"line {bad['row'][0]} is not one of a TREC run",
            which=which,
            found=f"{len(bad['line'][0].split())} fields",
            expected="6: query_id Q0 doc_id rank score tag",
            cure="the suffix tells the format: .trec, .run and .txt are TREC runs",
        )
    return fields.select(_TREC_COLUMNS)


def _json_names(path: Path, which: str) -> list[str]:
    """Return the names in the first objects of a file; later ones may lack some."""
    names: dict[str, None] = {}
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if number > 1_000:
                break
            if line.strip():
                names |= dict.fromkeys(_parse(line, number, which))
    return list(names)


def _parse(line: bytes, number: int, which: str) -> dict[str, object]:
    try:
        found = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise InputError(f"line {number} is not JSON", which=which) from error
    if not isinstance(found, dict):
        raise InputError(
            f"line {number} is not a JSON object", which=which, found=type(found).__name__
        )
    return found


def _bad_json_line(path: Path) -> tuple[int, str] | None:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                try:
                    _parse(line, number, "")
                except InputError as error:
                    return number, error.what.partition(f"line {number} ")[2]
    return None


def _not_utf8_line(path: Path) -> tuple[int, str] | None:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number, "is not UTF-8"
    return None
