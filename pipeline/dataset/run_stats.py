"""The numbers of one run while it goes on: counted in `Metrics`, shown as a `RunSummary`."""

import math
import time
from typing import Any

from pipeline.core.records import Ranking
from pipeline.core.settings import RunSettings
from pipeline.dataset.run_telemetry import RunTelemetry
from pipeline.dataset.summary import RunSummary, bound_by
from pipeline.output.part_info import PartInfo
from pipeline.output.run_records import EndState, State
from pipeline.output.ticks import Ticks
from pipeline.planning.plan import Plan
from pipeline.service.metrics import Metrics, QuotaUse
from pipeline.service.run_budget import RunBudget


class RunStats:
    """Collects the numbers of one run.

    Args:
        settings: Prices, and how many rejects are allowed.
        quota_use: How the session's throttle uses the quota.

    Attributes:
        metrics: The counts of this run; every component that works for the run adds to them.
        finished: The parts that were written before this run, by index.
        written: The parts that this run wrote, by index.
        groups: Queries of the input; None while it is not known.
        candidates: Candidates to rank; None while it is not known.
        state: `running`, or how the run ended.
        budget: What this run may spend; None before it has begun.
        earlier_usd: What earlier runs on the output may have cost.
        ticks: How the run went over time.
        recent: The same for the last seconds only, a tick for each second.
        telemetry: What reports the run to OpenTelemetry; None if nothing does.
    """

    def __init__(self, settings: RunSettings, quota_use: QuotaUse) -> None:
        self.budget: RunBudget | None = None
        self.earlier_usd = 0.0
        self.metrics = Metrics()
        self.ticks, self.recent = Ticks(), Ticks()
        self.telemetry: RunTelemetry | None = None
        self.finished: dict[int, PartInfo] = {}
        self.written: dict[int, PartInfo] = {}
        self.groups: int | None = None
        self.candidates: int | None = None
        self.state: State = "running"
        self._settings = settings
        self._quota_use = quota_use
        self._quota_use_before = quota_use.copy()
        self._is_concluded = False
        self._started, self._started_cpu_s = time.monotonic(), time.process_time()

    def add_ranking(self, plan: Plan, ranking: Ranking) -> None:
        """Count a group that was ranked."""
        metrics = self.metrics
        metrics.candidates_ranked += ranking.group.num_candidates
        metrics.merge_status[ranking.merge_status] += 1
        metrics.truncated_documents += ranking.num_truncated
        metrics.truncated_queries += plan.query_cut
        if ranking.rejects:
            metrics.reject_reasons.update(reject.reason for reject in ranking.rejects)
        if ranking.documents_reused or ranking.saved_tokens:
            metrics.partial_groups += ranking.documents_reused > 0
            metrics.documents_reused += ranking.documents_reused
            metrics.saved_usd += ranking.saved_tokens * self._settings.profile.usd_per_token

    def add_size_refusal(self) -> None:
        """Count a request that the service refused for its size."""
        self.metrics.size_refusals += 1

    def add_part(self, part: PartInfo, begun_s: float) -> None:
        """Count a part that was written; it was begun so many seconds after 1970."""
        self.written[part.index] = part
        if self.telemetry is not None:
            self.telemetry.add_part(part, begun_s)

    def parts(self) -> dict[int, PartInfo]:
        """Return all parts that are written, by this run or before it."""
        return self.finished | self.written

    def rejected(self) -> int:
        """Return how many candidates have no score in these parts."""
        return sum(part.num_rejected for part in self.parts().values())

    def end(self, state: EndState) -> None:
        """Record how the run ended; nothing more is spent."""
        self.state = state
        if self.budget is not None:
            self.budget.end()

    def conclude(self) -> None:
        """Take what was written for all there is: the run has come to its end."""
        self.groups = sum(part.num_groups for part in self.parts().values())
        self.candidates = sum(part.num_candidates for part in self.parts().values())
        self._is_concluded = True

    def snapshot(self, outage_s: float = 0.0) -> RunSummary:
        """Return the numbers as they are now.

        Args:
            outage_s: For how long the service has been down.
        """
        metrics, parts = self.metrics, self.parts()
        seconds = time.monotonic() - self._started
        paid_usd = metrics.cost_usd + metrics.unanswered_usd
        quota_use = self._quota_use.since(self._quota_use_before)
        return RunSummary(
            state=self.state,
            groups=self.groups,
            groups_done=sum(part.num_groups for part in parts.values()),
            groups_ranked=sum(part.num_groups for part in self.finished.values())
            + metrics.merge_status.total(),
            parts=self._num_parts(len(parts)),
            parts_done=len(parts),
            candidates=self.candidates,
            candidates_ranked=metrics.candidates_ranked,
            candidates_finished=sum(part.num_candidates for part in self.finished.values()),
            rejected=sum(part.num_rejected for part in parts.values()),
            skipped=sum(part.num_skipped for part in parts.values()),
            truncated_documents=metrics.truncated_documents,
            truncated_queries=metrics.truncated_queries,
            requests=metrics.answered,
            requests_sent=metrics.requests,
            requests_failed=metrics.failed,
            requests_reused=metrics.requests_reused,
            total_tokens=metrics.tokens,
            search_units=metrics.search_units,
            cost_usd=metrics.cost_usd,
            unanswered=metrics.unanswered,
            unanswered_usd=metrics.unanswered_usd,
            cost_at_most_usd=max(paid_usd, self.budget.at_most_usd if self.budget else 0.0),
            all_runs_usd=self.earlier_usd + paid_usd,
            partial_groups=metrics.partial_groups,
            documents_reused=metrics.documents_reused,
            saved_usd=metrics.saved_usd,
            merge_status=self._merge_status(),
            reject_reasons=dict(sorted(metrics.reject_reasons.items())),
            retries=metrics.retries,
            throttled=metrics.throttled,
            size_refusals=metrics.size_refusals,
            quota_used=quota_use.share,
            bound_by=self._bound_by(quota_use, seconds),
            bound_s=self._bound_s(),
            latency_ms=metrics.latency_ms(),
            recent=self.recent.recent() if self.state == "running" else None,
            outage_s=outage_s,
            seconds=seconds,
        )

    def record_facts(self, outage_s: float = 0.0) -> dict[str, Any]:
        """Return the numbers for a record, without the state, which the record keeps itself.

        Args:
            outage_s: For how long the service has been down.
        """
        facts = self.snapshot(outage_s).as_json()
        facts.pop("state")
        return facts | {
            "limits": self._limits(),
            "latency_histogram": self.metrics.latency.buckets_ms(),
            "ticks": self.ticks,
        }

    def _bound_s(self) -> dict[str, float]:
        total = self.ticks.total()
        return {} if total is None else dict(total.bound_s)

    def _limits(self) -> dict[str, float]:
        """Return the limits that the run was started with, as far as there are any."""
        settings = self._settings
        given = {name: getattr(settings.pace, name) for name in settings.pace.limit_names()}
        given["max_cost_usd"] = settings.max_cost_usd
        return {name: value for name, value in given.items() if value is not None}

    def _num_parts(self, num_written: int) -> int | None:
        """Return how many parts the output will have; large candidates make more of them."""
        if self._is_concluded or self.groups is None:
            return num_written if self._is_concluded else None
        return max(1, math.ceil(self.groups / self._settings.groups_per_part), num_written)

    def _merge_status(self) -> dict[str, int]:
        counts = self.metrics.merge_status.copy()
        if self._is_concluded:
            for part in self.finished.values():
                counts.update(part.merge_status)
        return dict(sorted(counts.items()))

    def _bound_by(self, quota_use: QuotaUse, seconds: float) -> str:
        if not self.metrics.answered:
            return ""
        cpu_s = time.process_time() - self._started_cpu_s
        return bound_by(quota_use, seconds=seconds, cpu_s=cpu_s)
