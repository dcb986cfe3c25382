"""What a run did, as one value: the numbers of its report, of `status` and of the progress line."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.counters import Counters
from pipeline.records import Ranking
from pipeline.sink import PartInfo

SCHEMA_VERSION = 1
"""Version of the JSON objects that commands print."""

EndState = Literal["interrupted", "failed", "partial", "done"]
State = Literal["running"] | EndState


@dataclass(slots=True)
class Summary:
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
        quota_used: Share of the quota that was used while there was work; None without a quota.
        bound_by: What held the run back most: quota, service, in_flight, reading or writing.
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

    def add_ranking(self, ranking: Ranking) -> None:
        """Count a group that this run ranked."""
        self.candidates_ranked += ranking.group.num_candidates
        self.merge_status[ranking.merge_status] += 1
        self.truncated_documents += ranking.num_truncated
        self.reject_reasons.update(reject.reason for reject in ranking.rejects)

    def take_parts(self, parts: Mapping[int, PartInfo]) -> None:
        """Take over what the footers of the written parts say."""
        self.parts_done = len(parts)
        self.groups_done = sum(part.num_groups for part in parts.values())
        self.rejected = sum(part.num_rejected for part in parts.values())
        self.skipped = sum(part.num_skipped for part in parts.values())

    def take_counters(self, counters: Counters) -> None:
        """Take over what the client and the throttle counted."""
        self.requests = counters.answered
        self.total_tokens = counters.tokens
        self.cost_usd = counters.cost_usd
        self.retries = counters.retries
        self.throttled = counters.throttled
        self.quota_used = counters.quota_used
        self.bound_by = counters.bound_by if counters.answered else ""
        self.latency_ms = counters.latency_ms()

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        facts = {name: getattr(self, name) for name in self.__slots__}
        facts["candidates_done"] = self.candidates_done
        facts["merge_status"] = dict(sorted(self.merge_status.items()))
        facts["reject_reasons"] = dict(sorted(self.reject_reasons.items()))
        return {"schema_version": SCHEMA_VERSION, **facts}
