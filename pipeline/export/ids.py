"""Ids of rows and documents in other systems: the parts of a key, joined.

`query_id` alone, `KEY_VALUE:query_id` in a backfill, `query_id:doc_id` for one candidate. In all
parts but the last a `%` is written `%25` and a `:` `%3A`, so different keys have different names.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from pipeline.core.errors import InputError

SEPARATOR: Final = ":"
MAX_ID_BYTES: Final = 512
"""Elasticsearch and OpenSearch refuse a longer `_id`."""


def joined_id(names: Sequence[str]) -> pl.Expr:
    """Return the expression that joins the key columns to one string."""
    *before, last = (pl.col(name).cast(pl.String) for name in names)
    return pl.concat_str([*(_escaped(part) for part in before), last], separator=SEPARATOR)


def refuse_long_ids(ids: pl.Series) -> None:
    """Refuse ids that no search engine takes.

    Raises:
        InputError: naming the first one.
    """
    for is_bad, what in (
        (ids.str.len_bytes() > MAX_ID_BYTES, f"over {MAX_ID_BYTES} bytes"),
        (ids.str.len_bytes() == 0, "empty"),
    ):
        if is_bad.any():
            shown = ids.filter(is_bad)[0][:40]
            raise InputError(
                f"a document's _id is {what}, which search engines refuse", found=repr(shown)
            )


def without_repeats(rows: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Return the rows without repeated keys: of each key, the row at the best place stays."""
    return rows.filter(pl.struct(key).is_first_distinct())


def _escaped(part: pl.Expr) -> pl.Expr:
    return part.str.replace_all("%", "%25", literal=True).str.replace_all(
        SEPARATOR, "%3A", literal=True
    )
