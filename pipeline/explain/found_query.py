"""Find one query in an output, by the text of its id: its part, its rows, its rejects."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from pipeline.core.errors import InputError
from pipeline.core.groups import Id
from pipeline.output.part_info import PartInfo
from pipeline.output.reader import WrittenOutput

_GROUP_COLUMNS: Final = (
    *("query_id", "num_candidates", "num_requests", "total_tokens", "merge_status"),
    *("certified_depth", "num_rejected", "num_skipped", "num_truncated"),
)
_ROW_COLUMNS: Final = ("query_id", "doc_id", "rank", "relevance_score", "first_stage_rank")
_REJECT_COLUMNS: Final = ("query_id", "doc_id", "first_stage_rank", "reason", "code", "message")

_MOST_COMPARED: Final = 20_000
"""Ids that are compared with a misspelt one; more would take seconds."""


class FoundQuery(Struct, frozen=True, kw_only=True):
    """One query of an output, as it is written.

    Attributes:
        part: The part that holds it.
        group: Its row of `_groups`, by column.
        rows: Its rows of the part, best first, by column; `query` and `text` with `--with-text`.
        rejects: Its rows of `_rejects`, by column.
    """

    part: PartInfo
    query_id: Id
    group: dict[str, Any]
    rows: list[dict[str, Any]]
    rejects: list[dict[str, Any]]


def find_query(output: WrittenOutput, query_id: str) -> FoundQuery | None:
    """Return the query with this id; None if the output does not hold it.

    Ids are compared by their text: `7` finds the number 7 and the string "7", not "007".

    Raises:
        InputError: if a file cannot be read.
    """
    for part in output.parts:
        own = output.read_groups(part, _GROUP_COLUMNS).filter(_is(query_id))
        if own.is_empty():
            continue
        rejects = output.read_rejects(part, _REJECT_COLUMNS)
        group = own.to_dicts()[0]
        return FoundQuery(
            part=part,
            query_id=group.pop("query_id"),
            group=group,
            rows=list(_rows(output, part, query_id)),
            rejects=[] if rejects is None else rejects.filter(_is(query_id)).to_dicts(),
        )
    return None


def not_found(outputs: list[WrittenOutput], name: str, query_id: str) -> InputError:
    """Return the error for an id that no output holds; it names similar ids."""
    ids: list[str] = []
    for output in outputs:
        for part in output.parts:
            ids += output.read_groups(part, ["query_id"])["query_id"].cast(pl.String).to_list()
    near = _nearest(query_id, ids)
    is_finished = all(output.is_finished for output in outputs)
    cure = None if is_finished else "it is not finished: the query may come later"
    if near:
        cure = f"did you mean {' or '.join(repr(one[:80]) for one in near)}?"
    return InputError(f"holds no query {query_id[:80]!r}", which=name, cure=cure)


def _nearest(query_id: str, ids: list[str]) -> list[str]:
    """Return up to three ids that are similar to this one, the most similar first."""
    plain = _plain(query_id)
    alike = [one for one in ids if _plain(one) == plain]
    if len(ids) > _MOST_COMPARED:  # of many, those that begin alike
        start = query_id[: max(1, len(query_id) // 2)].casefold()
        ids = [one for one in ids if one.casefold().startswith(start)][:_MOST_COMPARED]
    folded = {one.casefold(): one for one in reversed(ids)}
    near = [folded[one] for one in get_close_matches(query_id.casefold(), folded, n=3)]
    return list(dict.fromkeys([*alike, *near]))[:3]


def _plain(query_id: str) -> str:
    """Return an id without case, punctuation and leading zeros, which are easily mistaken."""
    words = re.sub(r"[\W_]+", "", query_id.casefold())
    return re.sub(r"(?<!\d)0+(?=\d)", "", words)


def _is(query_id: str) -> pl.Expr:
    return pl.col("query_id").cast(pl.String) == query_id


def _rows(output: WrittenOutput, part: PartInfo, query_id: str) -> Iterator[dict[str, Any]]:
    names = output.schema().names
    columns = [*_ROW_COLUMNS, *(name for name in ("query",) if name in names)]
    for rows in output.iter_rows(part, columns):
        own = rows.filter(pc.equal(rows["query_id"].cast(pa.string()), pa.scalar(query_id)))
        yield from own.to_pylist()
