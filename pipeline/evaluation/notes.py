"""Notes that qualify the figures, as sentences."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.evaluation.coverage import Coverage
from pipeline.output.reader import WrittenOutput

if TYPE_CHECKING:
    from ir_measures import Measure


def coverage_notes(coverage: Coverage, *, is_finished: bool) -> Iterator[str]:
    """Yield which judged queries are left out, or count as empty rankings."""
    num_missing = len(coverage.missing)
    if num_missing == 1:
        missing, counted = "1 judged query is not", "counts as an empty ranking"
    else:
        missing, counted = f"{num_missing:,} judged queries are not", "count as empty rankings"
    if not is_finished:
        yield (
            "the output is not finished (no _SUCCESS, or a part is missing): "
            "only the judged queries that it holds count"
            + (f"; {missing} in it yet" if num_missing else "")
        )
    elif num_missing:
        yield f"{missing} in the output and {counted}"
    if coverage.hint is not None:
        yield f"perhaps {coverage.hint}"


def repeated_notes(num_repeated: int) -> Iterator[str]:
    """Yield how many rows repeat a document of their query."""
    if num_repeated:
        rows = f"{num_repeated:,} {'row repeats' if num_repeated == 1 else 'rows repeat'}"
        yield f"{rows} a document of the query: each document counts once, at its best place"


def depth_notes(output: WrittenOutput, measures: Sequence["Measure"]) -> Iterator[str]:
    """Yield which measures look deeper than the candidates that an output keeps per query."""
    top_n = output.manifest.settings.get("top_n")
    if top_n is None or not output.is_cut():
        return
    deep = [str(m) for m in measures if m.params.get("cutoff", top_n + 1) > top_n]
    if deep:
        verb = "looks" if len(deep) == 1 else "look"
        yield f"{output.location.name} keeps {top_n} candidates a query: " + (
            f"{', '.join(deep)} {verb} deeper"
        )
