"""The numbers of a run, from all who know some of them, while it goes and at its end."""

import asyncio
import logging
import math
import threading
import time
from typing import Any

from pipeline.core.events import log_event
from pipeline.core.records import Ranking
from pipeline.core.settings import RunSettings
from pipeline.dataset.cached_scorer import CachedScorer
from pipeline.dataset.summary import RunSummary
from pipeline.dataset.workers import GroupScheduler
from pipeline.output.part_info import PartInfo
from pipeline.output.run_records import EndState
from pipeline.planning.plan import Plan
from pipeline.service.metrics import Metrics
from pipeline.source.source import Source

log = logging.getLogger(__name__)

MAX_COUNTED_ROWS = 50_000_000
"""Counting the queries of so many rows takes some seconds of one core."""


class RunStats:
    """Keeps the summary of one run up to date.

    Attributes:
        metrics: For the client and the throttle.
        finished: The parts that were written before this run.
        answers: Where scores come from, once the run is so far.
        work: The groups in work, once the run is so far.
    """

    def __init__(self, settings: RunSettings) -> None:
        self.metrics = Metrics()
        self.finished: dict[int, PartInfo] = {}
        self.answers: CachedScorer | None = None
        self.work: GroupScheduler | None = None
        self._settings = settings
        self._summary = RunSummary()
        self._started, self._started_cpu_s = time.monotonic(), time.process_time()

    def set_candidates(self, candidates: int | None) -> None:
        """Note how many candidates the input has; None if that is not known yet."""
        self._summary.candidates = candidates

    async def count_groups(self, source: Source) -> None:
        """Learn how much there is to do; ids are quickly read, texts are not.

        Raises:
            InputError: for an input at fault, so far as its ids tell: nothing is paid for it yet.
        """
        if source.listing.num_rows > MAX_COUNTED_ROWS:
            return
        ended = threading.Event()
        try:
            groups = await asyncio.to_thread(source.count_groups, ended.is_set)
        finally:
            ended.set()  # the thread too, if nobody waits any more
        self._summary.groups = groups
        self._summary.parts = max(1, math.ceil(groups / self._settings.groups_per_part))

    def count_ranked(self, plan: Plan, ranking: Ranking) -> None:
        """Count a group that was ranked."""
        self._summary.add_ranked(ranking, self._settings.profile.usd_per_million_tokens)
        self._summary.truncated_queries += plan.query_cut

    def count_size_refusal(self) -> None:
        """Count a request that the service refused for its size."""
        self.metrics.size_refusals += 1

    def parts(self) -> dict[int, PartInfo]:
        """All parts that are written."""
        return self.finished | (self.work.parts if self.work else {})

    def rejected(self) -> int:
        """Candidates without a score in these parts."""
        return sum(part.num_rejected for part in self.parts().values())

    def look(self) -> RunSummary:
        """The numbers as they are now."""
        summary = self._summary
        summary.seconds = time.monotonic() - self._started
        summary.take_parts(self.parts())
        summary.take_metrics(self.metrics, time.process_time() - self._started_cpu_s)
        summary.candidates_finished = sum(p.num_candidates for p in self.finished.values())
        summary.requests_reused = self.answers.reused if self.answers else 0
        summary.size_refusals = self.metrics.size_refusals
        return summary

    def facts(self) -> dict[str, Any]:
        """The numbers as a record holds them, which knows its state by itself."""
        facts = self.look().as_json()
        facts.pop("state")
        return facts

    def end(self, state: EndState) -> None:
        """Note how the run ended, and log it."""
        summary = self.look()
        summary.state = state
        log_event(log, logging.INFO, "run.ended", **summary.log_fields())

    def conclude(self) -> None:
        """Count what is written as all that there is: the run came to its end."""
        summary = self.look()
        summary.groups, summary.parts = summary.groups_done, summary.parts_done
        for part in self.finished.values():
            summary.merge_status.update(part.merge_status)
