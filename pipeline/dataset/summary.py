"""What a run did, as one value: the numbers of its report, of `status` and of the progress line."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from pipeline.core.records import Ranking
from pipeline.output.part_info import PartInfo
from pipeline.output.run_records import State
from pipeline.service.metrics import Metrics

SCHEMA_VERSION = 1
"""Version of the JSON objects that commands print."""

_MOSTLY = 0.5
_BUSY = 0.9
"""Of one CPU: hardly more than one thread of Python runs at a time."""
_SOON_S = 1.0
"""A run so short is mostly its start, which says nothing about the rest."""


class RunSummary(Struct):
    """The numbers of a run; counts unless the name says otherwise.

    Attributes:
        state: `partial` is a run that finished with too many rejects.
        groups: Queries of the input; None while it is not known.
        groups_done: Queries whose part is written, by this run or one before it.
        parts: Parts that the output will have; None while it is not known.
        candidates: Candidates of the input; None while it is not known.
        candidates_ranked: Candidates whose group this run ranked.
        candidates_finished: Candidates whose part was written before this run.
        requests: Answers that this run paid for.
        requests_reused: Answers that the score store had.
        total_tokens: Tokens of the paid answers, as the service counted them.
        partial_groups: Queries that begin with an answer that held some of their documents.
        documents_reused: Their documents that stood in it.
        saved_usd: What these queries would have cost as a whole, less what was asked, about;
            below 0 where requests did not compare and whole queries were asked after all.
        quota_used: Share of the quota that was used while there was work; None without a quota.
        bound_by: What held the run back most: the name of a limit, `pause` (the service asked for
            it), `cpu` (this process can do no more), or `source` (too little was ready to be sent);
            empty if nothing was sent.
    """

    state: State = "running"
    groups: int | None = None
    groups_done: int = 0
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
    requests_reused: int = 0
    total_tokens: int = 0
    cost_usd: float = 0.0
    partial_groups: int = 0
    documents_reused: int = 0
    saved_usd: float = 0.0
    merge_status: Counter[str] = field(default_factory=Counter)
    reject_reasons: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    throttled: int = 0
    size_refusals: int = 0
    quota_used: float | None = None
    bound_by: str = ""
    latency_ms: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def candidates_done(self) -> int:
        """Candidates whose group is ranked, by this run or before it."""
        return self.candidates_ranked + self.candidates_finished

    def add_ranked(self, ranking: Ranking, usd_per_million_tokens: float = 0.0) -> None:
        """Count a group that this run ranking."""
        self.candidates_ranked += ranking.group.num_candidates
        self.merge_status[ranking.merge_status] += 1
        self.truncated_documents += ranking.num_truncated
        if ranking.rejects:
            self.reject_reasons.update(reject.reason for reject in ranking.rejects)
        if ranking.documents_reused or ranking.saved_tokens:
            self.partial_groups += ranking.documents_reused > 0
            self.documents_reused += ranking.documents_reused
            self.saved_usd += ranking.saved_tokens * usd_per_million_tokens / 1e6

    def take_parts(self, parts: Mapping[int, PartInfo]) -> None:
        """Take over what the footers of the written parts say."""
        self.parts_done = len(parts)
        if self.parts is not None:
            self.parts = max(self.parts, self.parts_done)  # large candidates make more parts
        self.groups_done = sum(part.num_groups for part in parts.values())
        self.rejected = sum(part.num_rejected for part in parts.values())
        self.skipped = sum(part.num_skipped for part in parts.values())

    def take_metrics(self, metrics: Metrics, cpu_s: float) -> None:
        """Take over what the client and the throttle counted in so much CPU time."""
        self.requests = metrics.answered
        self.total_tokens = metrics.tokens
        self.cost_usd = metrics.cost_usd
        self.retries = metrics.retries
        self.throttled = metrics.throttled
        self.quota_used = metrics.quota_used
        self.bound_by = metrics.bound_by if metrics.answered else ""
        if self.bound_by and metrics.admitted_s < _MOSTLY * self.seconds:
            self.bound_by = "source"  # most of the time nothing waited to be sent
        if (
            self.bound_by in ("source", "max_in_flight")
            and self.seconds > _SOON_S
            and cpu_s > _BUSY * self.seconds
        ):
            self.bound_by = "cpu"
        self.latency_ms = metrics.latency_ms()

    def log_fields(self) -> dict[str, object]:
        """Return the numbers that matter most, as fields of a log event."""
        names = (
            *("groups_done", "parts_done", "candidates_done", "rejected", "skipped"),
            *("requests", "requests_reused", "retries", "throttled", "total_tokens"),
        )
        counts = {name.removesuffix("_done"): getattr(self, name) for name in names}
        rounded = {"cost_usd": round(self.cost_usd, 6), "seconds": round(self.seconds, 1)}
        return {"state": self.state, **counts, **rounded}

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        facts = {name: getattr(self, name) for name in self.__struct_fields__}
        facts["candidates_done"] = self.candidates_done
        facts["merge_status"] = dict(sorted(self.merge_status.items()))
        facts["reject_reasons"] = dict(sorted(self.reject_reasons.items()))
        return {"schema_version": SCHEMA_VERSION, **facts}
