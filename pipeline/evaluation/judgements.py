"""Relevance judgements (qrels): how relevant a document is to a query.

Ids are compared as strings, as TREC does. A relevance is a whole number; below 1 is not relevant.
"""

import polars as pl

from pipeline.core.errors import InputError, shorten
from pipeline.evaluation.judgement_files import read_judgement_file
from pipeline.evaluation.judgement_formats import COLUMNS, RawJudgements

MAX_RELEVANCE = 100_000
"""trec_eval allocates a counter per grade, and crashes at values far above this."""

_WHOLE = r"^[+-]?[0-9]+(\.0*)?$"


def read_judgements(name: str) -> pl.DataFrame:
    """Read the judgements of a file, in any format of `judgement_files`.

    Returns:
        `query_id` and `doc_id` (strings) and `relevance` (int64), one row for each pair, sorted.

    Raises:
        InputError: if the file cannot be read, or holds no judgement, a null, an id that is
            neither a string nor an integer, a relevance that is not a whole number, or two
            relevances of one document.
    """
    raw = read_judgement_file(name)
    ids = [_ids(raw, column) for column in ("query_id", "doc_id")]
    judged = pl.DataFrame([*ids, _relevance(raw)])
    if judged.is_empty():
        raise InputError("holds no judgements", which=name)
    judged = judged.unique().sort(COLUMNS)
    _refuse_disagreement(name, judged)
    return judged


def _refuse_disagreement(which: str, judged: pl.DataFrame) -> None:
    disagreeing = judged.filter(pl.struct("query_id", "doc_id").is_duplicated())
    if disagreeing.is_empty():
        return
    query_id, doc_id, _ = disagreeing.row(0)
    grades = disagreeing.filter(query_id=query_id, doc_id=doc_id)["relevance"]
    raise InputError(
        f"judges document {_shown(doc_id)} of query {_shown(query_id)} twice",
        which=which,
        found=f"relevance {' and '.join(map(str, grades))}",
        expected="one relevance",
    )


def _ids(raw: RawJudgements, column: str) -> pl.Series:
    values = raw.frame[column]
    if not (
        values.dtype in (pl.String, pl.Binary, pl.Null, pl.Categorical, pl.Enum)
        or values.dtype.is_integer()
    ):
        raise InputError(
            f"column {column} has a wrong type",
            which=raw.which,
            found=values.dtype,
            expected="a string or an integer type",
            cure="cast it (pandas turns integers with nulls into floats)",
        )
    if values.null_count():
        raise InputError(
            f"null {column}", which=raw.which, found=_first_place(raw, values.is_null())
        )
    try:
        return values.cast(pl.String)
    except pl.exceptions.PolarsError as error:  # binary
        raise InputError(f"{column} is not UTF-8", which=raw.which) from error


def _relevance(raw: RawJudgements) -> pl.Series:
    """Return int64 relevances; whole numbers of any numeric or string type."""
    values = raw.frame["relevance"]
    if values.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        text = values.cast(pl.String).str.strip_chars()
        is_whole = text.str.contains(_WHOLE)
        numbers = text.str.replace(r"\.0*$", "").str.strip_prefix("+")
    elif values.dtype.is_numeric():
        numbers = values
        exact = values.cast(pl.Float64)
        is_whole = exact.is_finite() & (exact == exact.round())
    else:
        raise InputError(
            "column relevance has a wrong type",
            which=raw.which,
            found=values.dtype,
            expected="whole numbers",
        )
    relevance = numbers.cast(pl.Int64, strict=False).alias("relevance")
    in_range = relevance.is_between(-MAX_RELEVANCE, MAX_RELEVANCE)
    for what, good in (
        ("null relevance", values.is_not_null()),
        ("relevance is not a whole number", is_whole),
        ("relevance is out of range", in_range),
    ):
        bad = ~good.fill_null(value=False)
        if bad.any():
            value = raw.frame.filter(bad)["relevance"][0]
            raise InputError(
                what,
                which=raw.which,
                found=f"{_shown(value)} in {_first_place(raw, bad)}",
                expected=f"a whole number from -{MAX_RELEVANCE:,} to {MAX_RELEVANCE:,}",
            )
    return relevance


def _first_place(raw: RawJudgements, chosen: pl.Series) -> str:
    return f"{raw.unit} {raw.frame.filter(chosen)['place'][0]}"


def _shown(value: object) -> str:
    return shorten(repr(value) if isinstance(value, str) else str(value), 60)
