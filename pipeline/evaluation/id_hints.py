"""Explain why ids that look alike do not match."""

from collections.abc import Iterable

import polars as pl

from pipeline.core.errors import shorten

_ID = pl.col("id")
_DECIMALS = _ID.str.replace(r"^([0-9]+)\.0+$", "$1")
_ZEROS = _ID.str.replace(r"^0+([0-9])", "$1")
_DIFFERENCES = {
    "blanks around them": _ID.str.strip_chars(),
    "upper and lower case": _ID.str.to_lowercase(),
    "zeros before them": _ZEROS,
    "decimals (`7.0` for `7`)": _DECIMALS,
}


def explain_difference(judged: pl.Series, held: Iterable[pl.Series], where: str) -> str | None:
    """Return how ids of judgements and of an output differ; None if for no known reason.

    Args:
        judged: Ids of the judgements.
        held: Ids of the output, in pieces.
        where: Name of the output, for the sentence.
    """
    ids = pl.DataFrame({"id": judged}).unique()
    folded = {what: ids.with_columns(key=fold) for what, fold in _DIFFERENCES.items()}
    for piece in held:
        others = pl.DataFrame({"id": piece}).unique()
        for what, fold in _DIFFERENCES.items():
            alike = folded[what].join(others.with_columns(key=fold), on="key")
            alike = alike.filter(pl.col("id") != pl.col("id_right")).sort("id")
            if not alike.is_empty():
                one, other = (shorten(repr(alike[name][0]), 60) for name in ("id", "id_right"))
                return f"ids differ in {what}: {one} in the judgements, {other} in {where}"
    return None
