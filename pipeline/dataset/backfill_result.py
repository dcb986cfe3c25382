"""The results of a backfill's partitions: their numbers, sums, and the worst error."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec import Struct

from pipeline.core.errors import Interrupted, RerankError
from pipeline.dataset.summary import RunSummary
from pipeline.output.ticks import side_by_side

WORST_FIRST: Final = (4, 9, 8, 1, 3, 5, 6, 7)
"""The exit code of a backfill is the first of these that a partition had."""


class PartitionResult(Struct, frozen=True, kw_only=True):
    """The result of one partition.

    Attributes:
        name: Its folder, `KEY=VALUE`.
        summary: Its numbers; None if it was not begun.
        error: Why it failed, or has too many rejects; None if it did not.
    """

    name: str
    summary: RunSummary | None = None
    error: RerankError | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the result is final."""
        return self.summary is not None or self.error is not None

    @property
    def state(self) -> str:
        """`waiting`, `running`, or how it ended."""
        if self.summary is None:
            return "failed" if self.error is not None else "waiting"
        return "failed" if self.error and self.summary.state == "running" else self.summary.state

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        now = self.summary or RunSummary(state="running")
        return {
            "partition": self.name,
            "state": self.state,
            "groups": now.groups_done,
            "candidates": now.candidates_done,
            "requests": now.requests,
            "requests_reused": now.requests_reused,
            "cost_usd": now.cost_usd,
            "exit_code": self.error.exit_code if self.error else 0 if self.summary else None,
            "error": str(self.error) if self.error else None,
        }


def worst_error(results: Iterable[PartitionResult]) -> RerankError | None:
    """Return the error that a backfill ends with; None if no partition has one.

    A signal comes first, then the order of `WORST_FIRST`.
    """
    errors = [result.error for result in results if result.error is not None]
    return min(errors, key=_severity, default=None)


def total(summaries: Sequence[RunSummary], *, state: Any, seconds: float) -> RunSummary:
    """Return the sums of the numbers of several runs, as far as they can be added."""
    added = (
        *("groups_done", "groups_ranked", "parts_done", "candidates_ranked", "candidates_finished"),
        *("rejected", "skipped", "truncated_documents", "truncated_queries", "requests"),
        *("requests_reused", "requests_sent", "requests_failed", "partial_groups"),
        *("documents_reused", "saved_usd", "total_tokens", "search_units", "cost_usd"),
        *("unanswered", "unanswered_usd", "retries", "throttled"),
    )
    sums = {name: sum(getattr(summary, name) for summary in summaries) for name in added}
    known = [summary.candidates for summary in summaries if summary.candidates is not None]
    bound_s: Counter[str] = Counter()
    for summary in summaries:
        bound_s.update(summary.bound_s)
    recent = side_by_side(one.recent for one in summaries if one.recent is not None)
    return RunSummary(
        state=state,
        candidates=sum(known),
        bound_s=dict(bound_s),
        recent=recent,
        seconds=seconds,
        **sums,
    )


def _severity(error: RerankError) -> int:
    if isinstance(error, Interrupted):
        return -1
    code = error.exit_code
    return WORST_FIRST.index(code) if code in WORST_FIRST else len(WORST_FIRST)
