"""Compare an output with another one of the same queries, for the page."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from pipeline.evaluation.compare import Agreement, Shared, compare_judged, compare_unjudged
from pipeline.evaluation.paired import PairedMeasure
from pipeline.output.reader import WrittenOutput

if TYPE_CHECKING:
    from ir_measures import Measure


class Against(Struct, frozen=True, kw_only=True):
    """The result of a comparison.

    Attributes:
        other: The other output.
        shared: Numbers of queries.
        agreement: How alike the rankings are, by figure.
        overlaps: `overlap@10` of each query.
        measures: With judgements: `before` is the other output, `after` is this one.
        notes: Sentences that qualify the figures.
    """

    other: str
    shared: Shared
    agreement: Mapping[str, Agreement]
    overlaps: Sequence[float]
    measures: Mapping[str, PairedMeasure]
    notes: Sequence[str]


def compare(
    output: WrittenOutput,
    other: WrittenOutput,
    qrels_name: str | None,
    measures: Sequence["Measure"],
) -> Against:
    """Compare two outputs.

    Raises:
        InputError: if a file cannot be read, or if they have no query in common.
    """
    alike = compare_unjudged(output, other)
    judged = None
    if qrels_name is not None:
        judged = compare_judged(output, other, qrels_name, measures)
    return Against(
        other=other.location.name,
        shared=alike.shared,
        agreement=alike.agreement,
        overlaps=alike.by_query["overlap@10"].drop_nulls().to_list(),
        measures={} if judged is None else judged.measures,
        notes=[*alike.notes, *(judged.notes if judged is not None else ())],
    )
