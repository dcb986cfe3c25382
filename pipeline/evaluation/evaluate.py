"""Evaluate an output against judgements: the first-stage order and the new order.

As in TREC, every judged query counts: one that a finished output does not hold counts as an empty
ranking, in both orders. Of an unfinished output only the queries that it holds count.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import polars as pl
from msgspec import Struct

from pipeline.core.errors import RerankError
from pipeline.evaluation.coverage import find_coverage, iter_rankings, refuse_other_documents
from pipeline.evaluation.first_stage import find_input, iter_first_stage
from pipeline.evaluation.judgements import read_judgements
from pipeline.evaluation.notes import coverage_notes, depth_notes, repeated_notes
from pipeline.evaluation.paired import PairedMeasure, by_query, compare_measures
from pipeline.evaluation.scoring import Scorer
from pipeline.output.reader import WrittenOutput
from pipeline.source.source import Source

if TYPE_CHECKING:
    from ir_measures import Measure


class Evaluation(Struct, frozen=True, kw_only=True):
    """The result of an evaluation.

    Attributes:
        queries: Judged queries that count.
        queries_missing: Judged queries that the output does not hold.
        is_finished: Whether the output is finished.
        before_from: Where the first-stage order was read; None if it is not known.
        no_before: Why it is not known.
        measures: By name, in the requested order.
        by_query: As `paired.by_query` returns it.
        notes: Sentences that qualify the figures.
    """

    queries: int
    queries_missing: int
    is_finished: bool
    before_from: Literal["output", "input"] | None
    no_before: str | None
    measures: Mapping[str, PairedMeasure]
    by_query: pl.DataFrame
    notes: Sequence[str]


def evaluate_output(
    output: WrittenOutput,
    qrels_name: str,
    measures: Sequence["Measure"],
    *,
    input_name: str | None = None,
) -> Evaluation:
    """Evaluate both orders of an output.

    A repeated doc_id of a query is one document, at its best place in each order. If `--top-n` left
    out candidates, the first-stage order is read from the input.

    Args:
        output: The output.
        qrels_name: The file of judgements, see `judgement_files`.
        measures: Each measure once.
        input_name: The input; None: where the last run found it, if needed.

    Raises:
        InputError: if a file cannot be read or understood, or if no judged query is in the output.
    """
    judgements = read_judgements(qrels_name)
    source, no_before = _find_source(output, input_name)
    from_output = source is None and no_before is None
    before, after = Scorer(measures, judgements), Scorer(measures, judgements)
    for part in iter_rankings(output, "rank", "first_stage_rank"):
        after.add(part.select("query_id", "doc_id", "rank"))
        if from_output:
            before.add(part.select("query_id", "doc_id", rank="first_stage_rank"))
    coverage = find_coverage(output, qrels_name, judgements, after.values()["query_id"])
    if source is not None:
        held = coverage.held.to_frame("query_id")
        for piece in iter_first_stage(source):
            before.add(piece.join(held, on="query_id", how="semi"))
    nothing_found = not (after.num_found or before.num_found)
    if nothing_found:
        refuse_other_documents(output, qrels_name, judgements, coverage.held)
    counted = [coverage.held, coverage.missing] if output.is_finished else [coverage.held]
    queries = pl.concat(counted)
    first = before.values(queries) if no_before is None else None
    second = after.values(queries)
    notes = [
        *coverage_notes(coverage, is_finished=output.is_finished),
        *_before_notes(source, no_before),
        *depth_notes(output, measures),
        *repeated_notes(after.num_repeated),
    ]
    if nothing_found:
        notes.append("no judged document is among the candidates")
    return Evaluation(
        queries=len(queries),
        queries_missing=len(coverage.missing),
        is_finished=output.is_finished,
        before_from=None if no_before else "input" if source else "output",
        no_before=no_before,
        measures=compare_measures(measures, first, second),
        by_query=by_query(measures, first, second),
        notes=notes,
    )


def _find_source(output: WrittenOutput, input_name: str | None) -> tuple[Source | None, str | None]:
    """Return the input if the first-stage order must be read there, or why that is impossible."""
    if input_name is None and not output.is_cut():
        return None, None
    try:
        return find_input(output, input_name, ids_only=True), None
    except RerankError as error:
        if input_name is not None:
            raise
        return None, f"--top-n cut the output, and its input cannot be read: {error}"


def _before_notes(source: Source | None, no_before: str | None) -> Iterator[str]:
    if source is not None:
        yield f"before is the order of the whole input, {source.listing.name}"
    if no_before is not None:
        yield f"before is not known: {no_before}"
