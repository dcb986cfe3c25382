"""Open files of relevance judgements.

The suffix alone determines the format. Every format except Parquet may be compressed: `.gz` or
`.zst` follows its own suffix.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import InputError, shorten
from pipeline.evaluation.judgement_formats import (
    COLUMNS,
    RawJudgements,
    find_columns,
    parse_jsonl,
    parse_trec,
    table_parser,
)
from pipeline.output.layout import is_hidden
from pipeline.storage.errors import StoreError, explain
from pipeline.storage.location import Location, locate

Codec = Literal["gzip", "zstd"]

_CODECS: dict[str, Codec] = {".gz": "gzip", ".zst": "zstd"}
_MAGIC = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}
_PARSERS: dict[str, Callable[[str, bytes], RawJudgements]] = {
    **dict.fromkeys((".trec", ".run", ".txt", ".qrels"), parse_trec),
    **dict.fromkeys((".jsonl", ".ndjson"), parse_jsonl),
    ".tsv": table_parser("\t"),
    ".csv": table_parser(","),
}


def read_judgement_file(name: str) -> RawJudgements:
    """Read a file, or a folder of Parquet files.

    Raises:
        InputError: if it is not there, cannot be read, is of another format than its suffix says,
            or lacks a column.
    """
    if not name:
        raise InputError("no file is named", which="judgements")
    location = locate(name)
    with _readable(location):
        info = location.files.info(location.path)
    if info is None:
        raise InputError("no such file or folder", which=name)
    if info.is_folder:
        return _read_folder(location)
    stem, codec = location.path.lower(), None
    if packed := next((suffix for suffix in _CODECS if stem.endswith(suffix)), None):
        stem, codec = stem.removesuffix(packed), _CODECS[packed]
    if stem.endswith(".parquet") and codec is None:
        return _read_parquet(name, [location])
    for suffix, parse in _PARSERS.items():
        if stem.endswith(suffix):
            return parse(name, _read_text(location, codec))
    raise InputError(
        "unknown kind of file",
        which=name,
        expected=".parquet, or .trec, .txt, .qrels, .jsonl, .tsv, .csv, also with .gz or .zst",
        cure="rename it: the suffix tells the format",
    )


def _read_text(location: Location, codec: Codec | None) -> bytes:
    """Return the text, decompressed, as UTF-8 without a byte order mark."""
    with _readable(location, f"{codec} data" if codec else "a file"), location.open() as stream:
        content = stream.read() if codec is None else pa.CompressedInputStream(stream, codec).read()
    try:
        content.decode()
    except UnicodeDecodeError as error:
        packed = next((end for magic, end in _MAGIC.items() if content.startswith(magic)), None)
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"line {line} is not UTF-8",
            which=location.name,
            cure=f"it is compressed: name it {packed}" if packed else "write it again as UTF-8",
        ) from error
    return content.removeprefix(b"\xef\xbb\xbf")


def _read_folder(folder: Location) -> RawJudgements:
    with _readable(folder):
        infos = folder.files.children(folder.path, recursive=False)
    names = sorted(info.base_name for info in infos)
    files = [name for name in names if name.endswith(".parquet") and not is_hidden(name)]
    if not files:
        raise InputError(
            "a folder without Parquet files",
            which=folder.name,
            found=shorten(", ".join(map(repr, names)), 120) or "nothing",
            cure="name one file",
        )
    return _read_parquet(folder.name, [folder.child(name) for name in files])


def _read_parquet(which: str, files: Sequence[Location]) -> RawJudgements:
    tables = []
    for file in files:
        with (
            _readable(file, "Parquet"),
            file.open() as stream,
            pq.ParquetFile(stream) as parquet,
        ):
            sources = find_columns(file.name, parquet.schema_arrow.names)
            table = parquet.read(sources).select(sources).rename_columns(list(COLUMNS))
            table.validate(full=True)
        tables.append(table)
    try:
        frame = pl.from_arrow(pa.concat_tables(tables, promote_options="permissive"))
    except (pa.ArrowException, pl.exceptions.PolarsError) as error:
        found = shorten(str(error), 120)
        raise InputError("columns of unusable types", which=which, found=found) from error
    assert isinstance(frame, pl.DataFrame)
    return RawJudgements(which, frame.with_row_index("place", 1), "row")


@contextmanager
def _readable(location: Location, what: str = "a file") -> Iterator[None]:
    """Translate errors of file systems and readers; one without an errno means a damaged file."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        cause, cure = explain(error) if isinstance(error, OSError) else (str(error), None)
        of_place = isinstance(error, StoreError) or getattr(error, "errno", None)
        damaged = not of_place and what != "a file"
        raise InputError(
            f"is not {what}, or damaged" if damaged else "cannot be read",
            which=location.name,
            found=shorten(cause, 120),
            cure="check its suffix" if damaged else cure,
        ) from error
