"""The numbers of a run as one value, for its report, its record and its progress."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct, field
from msgspec.structs import asdict

from pipeline.core.facts import as_html, as_text
from pipeline.output.run_records import State
from pipeline.output.ticks import Stretch
from pipeline.service.metrics import QuotaUse

SCHEMA_VERSION: Final = 1
"""Version of the JSON objects that commands print."""

_MOSTLY: Final = 0.5
_BUSY: Final = 0.9
"""Share of one CPU, since hardly more than one thread of Python runs at a time."""
_MIN_SECONDS: Final = 1.0
"""A shorter run is mostly its start, which says nothing about the rest."""


class RunSummary(Struct, frozen=True, kw_only=True):
    """The numbers of a run at one moment; counts unless the name says otherwise.

    Attributes:
        state: `running`, or how it ended; `partial` is a run with more rejects than allowed.
        groups: Queries of the input; None while it is not known.
        groups_done: Queries whose part is written, by this run or before it.
        groups_ranked: Queries that are ranked, by this run or before it.
        parts: Parts that the output will have; None while it is not known.
        parts_done: Parts that are written, by this run or before it.
        candidates: Candidates to rank; None while it is not known.
        candidates_ranked: Candidates whose group this run ranked.
        candidates_finished: Candidates whose part was written before this run.
        rejected: Candidates in the written parts that should have a score and have none.
        skipped: Candidates in the written parts with nothing to score.
        truncated_documents: Documents whose text was cut at the per-item limit.
        truncated_queries: Groups whose query was cut at the per-item limit.
        requests: Requests that this run got scores for, and so paid for.
        requests_sent: All attempts: answered, failed, or refused by 429.
        requests_failed: Attempts that got no scores, except those refused by 429.
        requests_reused: Answers that the score store had.
        total_tokens: Tokens of the paid answers, as the service counted them.
        search_units: Their search units, of a vendor that bills these; else 0.
        cost_usd: Their price.
        unanswered: Failed attempts that may have been billed: their answer was lost or unusable.
        unanswered_usd: The most that they can have cost.
        cost_at_most_usd: What the run may have cost; while it goes on, what it may spend soon too.
        all_runs_usd: What all runs on this output may have cost together, this one included.
        partial_groups: Queries that began with a stored answer to some of their documents.
        documents_reused: Their documents that this answer holds.
        saved_usd: Estimate of what these queries would have cost as a whole, less what was paid;
            below 0 where requests did not compare and whole queries were asked after all.
        merge_status: Ranked queries by `MergeStatus`; at the end, those ranked before this run too.
        reject_reasons: Candidates without a score by `Reason`.
        retries: Further attempts after a failure.
        throttled: Attempts refused by 429, which asks for a slower pace.
        size_refusals: Requests that the service refused for their size.
        quota_used: Share of the quota that was used while there was work; None without a quota.
        bound_by: What held the run back most: the name of a limit, `pause` (the service asked for
            it), `cpu` (this process can do no more), or `source` (too little was ready to be sent);
            empty if nothing was sent.
        bound_s: Seconds by what held the run back: `bound_by`, or `outage`, `storage`, `cost` or
            `operator`, which stop everything.
        latency_ms: Milliseconds from sending a request to its scores, by quantile.
        recent: What happened in about the last ten seconds; None at first and after the end.
        outage_s: For how long the service has been down; 0 while it is up.
        seconds: Since the run was started.
    """

    state: State = "running"
    groups: int | None = None
    groups_done: int = 0
    groups_ranked: int = 0
    parts: int | None = None
    parts_done: int = 0
    candidates: int | None = None
    candidates_ranked: int = 0
    candidates_finished: int = 0
    rejected: int = 0
    skipped: int = 0
    truncated_documents: int = 0
    truncated_queries: int = 0
    requests: int = 0
    requests_sent: int = 0
    requests_failed: int = 0
    requests_reused: int = 0
    total_tokens: int = 0
    search_units: int = 0
    cost_usd: float = 0.0
    unanswered: int = 0
    unanswered_usd: float = 0.0
    cost_at_most_usd: float = 0.0
    all_runs_usd: float = 0.0
    partial_groups: int = 0
    documents_reused: int = 0
    saved_usd: float = 0.0
    merge_status: Mapping[str, int] = field(default_factory=dict)
    reject_reasons: Mapping[str, int] = field(default_factory=dict)
    retries: int = 0
    throttled: int = 0
    size_refusals: int = 0
    quota_used: float | None = None
    bound_by: str = ""
    bound_s: Mapping[str, float] = field(default_factory=dict)
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    recent: Stretch | None = None
    outage_s: float = 0.0
    seconds: float = 0.0

    @property
    def candidates_done(self) -> int:
        """Candidates whose group is ranked, by this run or before it."""
        return self.candidates_ranked + self.candidates_finished

    def log_fields(self) -> dict[str, object]:
        """Return the numbers that matter most, as fields of a log event."""
        names = (
            *("groups_done", "parts_done", "candidates_done", "rejected", "skipped"),
            *("requests", "requests_sent", "requests_failed", "throttled", "requests_reused"),
            *("retries", "unanswered", "total_tokens"),
        )
        counts = {name.removesuffix("_done"): getattr(self, name) for name in names}
        rounded = {"cost_usd": round(self.cost_usd, 6), "seconds": round(self.seconds, 1)}
        return {"state": self.state, **counts, **rounded}

    def __str__(self) -> str:
        """Return the numbers that are not empty, a line each."""
        return as_text(self._facts())

    def _repr_html_(self) -> str:
        """Return the same as a table, for notebooks."""
        return as_html("Run", self._facts())

    def as_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        facts = self._facts() | {"candidates_done": self.candidates_done}
        return {"schema_version": SCHEMA_VERSION, **facts}

    def _facts(self) -> dict[str, Any]:
        facts = asdict(self)
        del facts["recent"]
        return facts


def bound_by(
    quota_use: QuotaUse, *, seconds: float, cpu_s: float, min_seconds: float = _MIN_SECONDS
) -> str:
    """Return what held a run back most, as `RunSummary.bound_by`.

    Args:
        quota_use: How the quota was used during the run.
        seconds: How long it took.
        cpu_s: CPU time that this process took for it.
        min_seconds: Of a shorter run the CPU says nothing.
    """
    cause = quota_use.bound_by
    if quota_use.admitted_s < _MOSTLY * seconds:
        cause = "source"  # most of the time nothing waited to be sent
    is_busy = seconds > min_seconds and cpu_s > _BUSY * seconds
    return "cpu" if is_busy and cause in ("source", "max_in_flight") else cause
