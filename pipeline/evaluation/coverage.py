"""Which judged queries and documents an output holds."""

from collections.abc import Iterator

import polars as pl
from msgspec import Struct

from pipeline.core.errors import InputError
from pipeline.evaluation.id_hints import explain_difference
from pipeline.output.reader import WrittenOutput

_IDS = ["query_id", "doc_id"]


class Coverage(Struct, frozen=True, eq=False):
    """The judged queries that an output holds, and those that it lacks; sorted strings.

    Attributes:
        hint: How ids of missing queries differ from ids that the output holds.
    """

    held: pl.Series
    missing: pl.Series
    hint: str | None


def iter_rankings(output: WrittenOutput, *ranks: str) -> Iterator[pl.DataFrame]:
    """Yield `query_id` and `doc_id` (strings) and these columns of ranks, in whole queries.

    Raises:
        InputError: if a part cannot be read, or if there is none.
    """
    if not output.parts:
        raise InputError(
            "holds no part that can be read",
            which=output.location.name,
            cure="wait for its first part; rerank status tells how far it is",
        )
    for at in range(len(output.parts)):
        yield read_rankings(output, at, *ranks)


def read_rankings(output: WrittenOutput, at: int, *ranks: str) -> pl.DataFrame:
    """Read one part as `iter_rankings` yields it.

    Raises:
        InputError: if it cannot be read.
    """
    part = output.read_part(at, [*_IDS, *ranks])
    return part.with_columns(pl.col(_IDS).cast(pl.String))


def find_coverage(
    output: WrittenOutput, qrels_name: str, judgements: pl.DataFrame, held: pl.Series
) -> Coverage:
    """Separate the judged queries that an output holds from those that it lacks.

    Args:
        output: The output.
        qrels_name: The file of the judgements, for messages.
        judgements: As `read_judgements` returns them.
        held: The judged queries found in the output.

    Raises:
        InputError: if the output holds none of them.
    """
    judged = judgements["query_id"].unique()
    missing = judged.filter(~judged.is_in(held.implode())).sort()
    hint = None
    if not missing.is_empty():
        ids = (
            part["query_id"].unique().cast(pl.String) for part in output.iter_parts(["query_id"])
        )
        others = (part.filter(~part.is_in(judged.implode())) for part in ids)
        hint = explain_difference(missing, others, output.location.name)
    if held.is_empty():
        raise InputError(
            "judges none of the output's queries",
            which=qrels_name,
            found=hint or _examples(missing, "the judgements"),
            expected=None if hint else f"query ids of {output.location.name}",
            cure=None if output.is_finished else "it is not finished: finish it first",
        )
    return Coverage(held.sort(), missing, hint)


def refuse_other_documents(
    output: WrittenOutput, qrels_name: str, judgements: pl.DataFrame, held: pl.Series
) -> None:
    """Refuse judgements whose doc_ids are those of the output in another spelling.

    Call this if no judged document was found.

    Raises:
        InputError: if ids differ only in blanks, case, zeros or decimals.
    """
    queries = held.to_frame("query_id")
    of_queries = (part.join(queries, on="query_id", how="semi") for part in iter_rankings(output))
    judged = judgements.join(queries, on="query_id", how="semi")["doc_id"]
    hint = explain_difference(judged, (p["doc_id"] for p in of_queries), output.location.name)
    if hint is not None:
        raise InputError("judges none of the output's documents", which=qrels_name, found=hint)


def _examples(ids: pl.Series, where: str) -> str:
    return f"{', '.join(map(repr, ids.head(3)))} in {where}"
