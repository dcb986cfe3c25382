"""The explanation of one query for people: what was asked, then a table of its candidates."""

from collections.abc import Iterator, Sequence
from typing import Final

from jobs.console.printing import emit, emit_facts, emit_table, num
from pipeline.core.printable import make_printable
from pipeline.explain.explanation import ExplainedCandidate, Explanation

NUM_SHOWN: Final = 30
_ID_LENGTH: Final = 40
_QUERY_LENGTH: Final = 100

STATUSES: Final = {
    "single_request": "all candidates in one request",
    "comparable": "sorted by the service's own scores, which passed the tests",
    "trusted": "sorted by score without a test (--merge trust)",
    "linked_affine": "the requests differ: linked by a line each, then a final request",
    "linked_rank": "the requests differ: linked by counts between anchors, then a final request",
    "unstable": "the requests disagree: places that are not proved are uncertain",
    "incomplete": "a request failed for good",
    "empty": "nothing to score",
}
"""The meaning of each merge status."""


def show_explanation(found: Explanation, *, show_all: bool) -> None:
    """Print an explanation."""
    emit_facts(_facts(found))
    shown = found.candidates if show_all else found.candidates[:NUM_SHOWN]
    if shown:
        emit("")
        # Beyond the first request, a column each would be too wide: first and final are shown.
        emit_table(
            ("doc_id", "rank", "was", "moved", "score", "request", "score there", "final", "sure"),
            [tuple(_cells(found, one)) for one in shown],
        )
    if more := len(found.candidates) - len(shown):
        emit(f"and {num(more, 'candidate')} more: show them with --all")


def _facts(found: Explanation) -> Iterator[tuple[str, str]]:
    groups = found.groups
    where = f"{found.output}, part {found.part}"
    yield "query", _text(str(found.query_id), _ID_LENGTH)
    yield "output", where if found.partition is None else f"{where} ({found.partition})"
    if found.query:
        yield "text", _text(found.query, _QUERY_LENGTH)
    yield "merged", f"{groups.merge_status}: {STATUSES.get(groups.merge_status, '')}"
    proved = f"{groups.certified_depth:,} of {groups.num_candidates:,} places"
    yield "proved", proved + (f"; --top-n cut {found.cut:,}" if found.cut else "")
    sent = f"{num(groups.num_requests, 'request')}, {num(groups.total_tokens, 'token')}"
    yield "asked", f"{sent} ({found.model})"
    for request in found.requests if len(found.requests) > 1 else ():
        tokens = "" if request.tokens is None else f", {num(request.tokens, 'token')}"
        text = f"{num(request.documents, 'document')}{tokens}, {request.kind}"
        yield f"request {request.number}", text
    anchors = sum(bool(one.is_anchor) for one in found.candidates)
    if anchors:
        yield "anchors", f"{num(anchors, 'candidate')} in every request (marked *)"
    if (test := found.comparison) is not None:
        verdict = "comparable" if test.comparable else "not comparable"
        alike = "alike" if test.alike else "not alike"
        text = f"{verdict}: p {test.p_lines:.2g} (lines), {test.p_noise:.2g} (noise), {alike}"
        yield "requests", text + (", normalised over their request" if test.fingerprint else "")
    if (link := found.link) is not None:
        error = "unknown" if link.error is None else f"{link.error:.1%} of the group"
        yield "link", f"{link.model}, error {error}, {'stable' if link.stable else 'not stable'}"
    lost = f"{groups.num_rejected:,} rejected, {groups.num_skipped:,} skipped"
    if groups.num_rejected or groups.num_skipped:
        yield "without score", lost
    if groups.num_truncated:
        yield "truncated", f"{num(groups.num_truncated, 'candidate')} (marked -)"
    for note in found.notes:
        yield "note", note


def _cells(found: Explanation, one: ExplainedCandidate) -> Iterator[str]:
    marks = "*" * bool(one.is_anchor) + "-" * bool(one.is_truncated)
    yield _text(str(one.doc_id), _ID_LENGTH) + (f" {marks}" if marks else "")
    yield "cut" if one.rank is None else f"{one.rank:,}"
    yield f"{one.first_stage_rank:,}"
    yield "-" if one.rank is None else f"{one.first_stage_rank - one.rank:+,}"
    yield _number(one.relevance_score)
    yield "-" if one.home_request is None else f"{one.home_request}"
    scores = {score.number: score.score for score in one.scores}
    yield _number(scores.get(one.home_request or 0))
    yield _number(_last_of(found, "final", scores))
    yield one.reason or one.sure


def _last_of(found: Explanation, kind: str, scores: dict[int, float | None]) -> float | None:
    numbers: Sequence[int] = [one.number for one in found.requests if one.kind == kind]
    return next((scores[number] for number in reversed(numbers) if number in scores), None)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _text(text: str, length: int) -> str:
    """Return a text for a terminal: one line, shortened, without control characters."""
    plain = " ".join(make_printable(text[: 4 * length]).split())
    return plain if len(plain) <= length else f"{plain[: length - 1]}…"
