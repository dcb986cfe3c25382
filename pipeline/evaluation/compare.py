"""Compare two outputs of the same queries, with judgements or by the agreement of rankings.

Only queries that both outputs hold are compared; the others are counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl
from msgspec import Struct

from pipeline.core.errors import InputError
from pipeline.evaluation.agreement import NAMES, compare_rankings
from pipeline.evaluation.coverage import find_coverage, iter_rankings, read_rankings
from pipeline.evaluation.judgements import read_judgements
from pipeline.evaluation.notes import depth_notes, repeated_notes
from pipeline.evaluation.paired import PairedMeasure, by_query, compare_measures
from pipeline.evaluation.scoring import Scorer
from pipeline.output.reader import WrittenOutput

if TYPE_CHECKING:
    from ir_measures import Measure

_PIECE_ROWS = 250_000
"""Rows of one output that are compared with the other at once; bounds memory."""


class Shared(Struct, frozen=True, kw_only=True):
    """Numbers of queries; with judgements, of judged queries only.

    Attributes:
        queries: In both outputs; these are compared.
        only_output: Only in OUTPUT.
        only_other: Only in OTHER.
        missing: Judged, but in neither.
    """

    queries: int
    only_output: int
    only_other: int
    missing: int = 0


class JudgedComparison(Struct, frozen=True, kw_only=True):
    """Measures of two outputs: `before` is OTHER, `after` is OUTPUT, change = OUTPUT - OTHER.

    Attributes:
        measures: By name, in the requested order.
        by_query: As `paired.by_query` returns it.
        notes: Sentences that qualify the figures.
    """

    shared: Shared
    measures: Mapping[str, PairedMeasure]
    by_query: pl.DataFrame
    notes: Sequence[str]


class Agreement(Struct, frozen=True):
    """A figure of agreement over the queries for which it is defined; None if there are none.

    Attributes:
        queries: For how many queries it is defined.
    """

    mean: float | None
    median: float | None
    queries: int


class UnjudgedComparison(Struct, frozen=True, kw_only=True):
    """Agreement of the rankings of two outputs.

    Attributes:
        agreement: By name, see the module `agreement`.
        by_query: `query_id` and a column per name, sorted by rising RBO.
        notes: Sentences that qualify the figures.
    """

    shared: Shared
    agreement: Mapping[str, Agreement]
    by_query: pl.DataFrame
    notes: Sequence[str]


def compare_judged(
    output: WrittenOutput, other: WrittenOutput, qrels_name: str, measures: Sequence["Measure"]
) -> JudgedComparison:
    """Compare the measures of two outputs over the judged queries that both hold.

    Raises:
        InputError: if a file cannot be read or understood, or if there is no such query.
    """
    judgements = read_judgements(qrels_name)
    scorers = []
    for each in (output, other):
        scorer = Scorer(measures, judgements)
        for part in iter_rankings(each, "rank"):
            scorer.add(part)
        find_coverage(each, qrels_name, judgements, scorer.values()["query_id"])
        scorers.append(scorer)
    after, before = (scorer.values() for scorer in scorers)
    both = after.join(before, on="query_id", how="semi")["query_id"]
    _refuse_disjoint(output, other, len(both), "judged query")
    shared = Shared(
        queries=len(both),
        only_output=after.height - len(both),
        only_other=before.height - len(both),
        missing=judgements["query_id"].n_unique() - after.height - before.height + len(both),
    )
    first, second = scorers[1].values(both), scorers[0].values(both)
    notes = [
        *_notes(output, other),
        *depth_notes(output, measures),
        *depth_notes(other, measures),
        *repeated_notes(sum(scorer.num_repeated for scorer in scorers)),
    ]
    return JudgedComparison(
        shared=shared,
        measures=compare_measures(measures, first, second),
        by_query=by_query(measures, first, second),
        notes=notes,
    )


def compare_unjudged(output: WrittenOutput, other: WrittenOutput) -> UnjudgedComparison:
    """Compare the rankings of the queries that both outputs hold.

    Raises:
        InputError: if a part cannot be read, or if there is no such query.
    """
    pairs = [compare_rankings(*pair) for pair in _aligned(output, other)]
    figures = pl.concat(pairs).sort("RBO", "query_id")
    num_output, num_other = (
        sum(part.n_unique() for part in each.iter_parts(["query_id"])) for each in (output, other)
    )
    _refuse_disjoint(output, other, figures.height, "query")
    shared = Shared(
        queries=figures.height,
        only_output=num_output - figures.height,
        only_other=num_other - figures.height,
    )
    agreement = {
        name: Agreement(
            mean=_as_float(figures[name].mean()),
            median=_as_float(figures[name].median()),
            queries=figures[name].count(),
        )
        for name in NAMES
    }
    notes = list(_notes(output, other))
    return UnjudgedComparison(shared=shared, agreement=agreement, by_query=figures, notes=notes)


def _aligned(
    output: WrittenOutput, other: WrittenOutput
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield rankings of both outputs in pieces that hold the same queries.

    For each piece, the parts of `other` that hold its queries are read one by one, so memory stays
    bounded whatever the order of the queries is.
    """
    places = [part.unique().cast(pl.String) for part in other.iter_parts(["query_id"])]
    for piece in _pieces(output):
        queries = piece.select(pl.col("query_id").unique())
        rows = [
            read_rankings(other, at, "rank").join(queries, on="query_id", how="semi")
            for at, held in enumerate(places)
            if not held.join(queries, on="query_id", how="semi").is_empty()
        ]
        yield piece, pl.concat(rows) if rows else piece.clear()


def _pieces(output: WrittenOutput) -> Iterator[pl.DataFrame]:
    parts: list[pl.DataFrame] = []
    for part in iter_rankings(output, "rank"):
        parts.append(part)
        if sum(part.height for part in parts) >= _PIECE_ROWS:
            yield pl.concat(parts)
            parts = []
    if parts:
        yield pl.concat(parts)


def _as_float(value: object) -> float | None:
    assert value is None or isinstance(value, float)
    return value


def _refuse_disjoint(output: WrittenOutput, other: WrittenOutput, shared: int, what: str) -> None:
    if not shared:
        raise InputError(
            f"no {what} in common with {other.location.name}",
            which=output.location.name,
            cure="compare outputs of the same queries",
        )


def _notes(output: WrittenOutput, other: WrittenOutput) -> Iterator[str]:
    for each in (output, other):
        if not each.is_finished:
            yield (
                f"{each.location.name} is not finished (no _SUCCESS, or a part is missing): "
                "only the queries that it holds count"
            )
