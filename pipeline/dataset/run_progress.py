"""Report on a run while it goes on: its numbers, ticks, record and telemetry."""

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Any

from pipeline.core.background import background
from pipeline.core.events import log_event
from pipeline.core.gate import Gates
from pipeline.core.settings import RunSettings
from pipeline.dataset.run_stats import RunStats
from pipeline.dataset.session import Session
from pipeline.dataset.summary import RunSummary
from pipeline.dataset.ticker import Ticker
from pipeline.output.run_record_writer import RecordWriter
from pipeline.output.run_records import EndState, recorded_run
from pipeline.storage.location import Location

log = logging.getLogger(__name__)


class RunProgress:
    """Report on one run.

    Args:
        session: Access to the service.
        settings: What the run does.
        output: Where its record is kept.
        stats: Its numbers.

    Attributes:
        gate: Closed while storage keeps the run from sending; None before it sends anything.
    """

    def __init__(
        self, session: Session, settings: RunSettings, output: Location, stats: RunStats
    ) -> None:
        self.gate: Gates | None = None
        self._session = session
        self._settings = settings
        self._output = output
        self._stats = stats

    def snapshot(self) -> RunSummary:
        """Return the numbers of the run as they are now."""
        return self._stats.snapshot(self._session.outage_s)

    def reported(self) -> AbstractContextManager[object]:
        """Report the run to OpenTelemetry while the body runs, if anything does."""
        telemetry = self._stats.telemetry
        return nullcontext() if telemetry is None else telemetry.running(self.snapshot)

    @asynccontextmanager
    async def recorded(self, input_name: str) -> AsyncIterator[RecordWriter]:
        """Keep the record of the run, and take a sample of it every second, while the body runs.

        Args:
            input_name: What the run reads.

        Yields:
            Writes the record when it is asked to.
        """
        session, stats, settings = self._session, self._stats, self._settings
        ticker = Ticker(
            stats,
            session.quota_use_now,
            self._stopped_by,
            waits_for_money=self._waits_for_money,
            on_sample=self._observe,
        )
        recorded = recorded_run(
            self._output,
            input_name=input_name,
            model=settings.profile.name,
            snapshot=self._record_facts,
            on_end=partial(self._end, ticker),
            is_partial=lambda: stats.rejected() > settings.max_rejects,
        )
        async with recorded as record, background(ticker.run(), name="ticks"):
            yield record

    def _stopped_by(self) -> str | None:
        """Return the cause that stops all sending now, as `Ticker` asks for it."""
        causes = {
            "outage": self._session.outage_s > 0,
            "storage": self.gate is not None and not self.gate.is_open,
            "operator": self._session.is_paused,
        }
        return next((cause for cause, holds in causes.items() if holds), None)

    def _observe(self) -> None:
        if self._stats.telemetry is not None:
            self._stats.telemetry.observe(self.snapshot())

    def _waits_for_money(self) -> bool:
        budget = self._stats.budget
        return budget is not None and budget.is_waited_for

    def _record_facts(self) -> dict[str, Any]:
        shard = self._settings.shard
        facts = self._stats.record_facts(self._session.outage_s)
        return facts if shard is None else facts | {"shard": str(shard)}

    def _end(self, ticker: Ticker, state: EndState) -> None:
        """Record how the run ended, and log it."""
        ticker.sample(is_last=True)
        self._stats.end(state)
        log_event(log, logging.INFO, "run.ended", **self.snapshot().log_fields())
