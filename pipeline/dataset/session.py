"""A session: the quota, cost budget, connections and paid answers that its runs share."""

import logging
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from types import TracebackType
from typing import Protocol, Self

from pipeline.core.errors import Interrupted, RerankError
from pipeline.core.events import log_event
from pipeline.core.gate import Gate, Gates
from pipeline.core.settings import DEFAULT_MAX_OUTAGE_S, Pace, RunSettings
from pipeline.core.stop import StopSwitch
from pipeline.dataset.cached_scorer import SharedScores
from pipeline.dataset.limits import RunLimits
from pipeline.dataset.run_telemetry import ObservedRuns, RunTelemetry
from pipeline.dataset.session_budget import SessionBudget
from pipeline.dataset.session_scores import SessionScores
from pipeline.service.client import RerankClient
from pipeline.service.connect import open_endpoint
from pipeline.service.endpoint import Endpoint
from pipeline.service.metrics import Metrics, QuotaUse
from pipeline.service.open_files import fit_open_files
from pipeline.service.run_budget import RunBudget
from pipeline.service.telemetry import Telemetry
from pipeline.service.throttle.leases.connect import open_leases
from pipeline.service.throttle.leases.leaser import Leaser
from pipeline.service.throttle.throttle import Throttle
from pipeline.service.transport import Transport
from pipeline.storage.location import Location
from pipeline.storage.retries import Patience

log = logging.getLogger(__name__)


class SessionRun(Protocol):
    """A run as its session sees it."""

    @property
    def metrics(self) -> Metrics:
        """Its numbers so far."""

    def stop_by(self, error: RerankError) -> None:
        """Start nothing more, and end with this error once what is in flight has arrived."""


class Session:
    """Access to one provider, model and account, for any number of runs.

    Use: `async with Session(settings, api_key) as session: await rerank_dataset(session, ...)`.
    Runs may follow each other or go on side by side as tasks of one event loop. They share the
    quota, the cost budget, the connections, and the score store if the settings name one; else each
    output has its own. An error of the service ends all of them, any other error its run alone.

    Args:
        settings: What to do.
        api_key: The service's key; None if it takes none. Never written anywhere.
        limits: How much each run holds at once.
        transport: Carries the requests; by default HTTP.
        leaser: Leases the quota; by default who the settings name, if they do.
        telemetry: Where spans and metrics of OpenTelemetry go; None for none.
        earlier_usd: What was spent before, for which the limit of costs holds as well; by default
            what earlier runs on the session's outputs have spent.

    Attributes:
        budget: What all runs may spend.
        quota_use: How the quota was used so far, by all runs.
        quota_use_now: Returns the same, brought up to date by the waits that go on.
        patience: How long to retry on an output or a score store that cannot be written.
        pace: The limits that all runs keep now.
        is_paused: The operator's pace file pauses all runs.

    Raises:
        SettingsError: for an address of the score store that no file system understands, or of a
            quota that cannot be leased.
    """

    def __init__(
        self,
        settings: RunSettings,
        api_key: str | None = None,
        *,
        limits: RunLimits | None = None,
        transport: Transport | None = None,
        leaser: Leaser | None = None,
        earlier_usd: float | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.settings = settings
        self.limits = limits or RunLimits()
        self.quota_use = QuotaUse()
        max_outage_s = settings.max_outage_s
        self.patience = Patience(
            max_outage_s=DEFAULT_MAX_OUTAGE_S if max_outage_s is None else max_outage_s,
            backoff=self.limits.storage_backoff,
        )
        self._api_key = api_key
        self._transport = transport
        self._telemetry = telemetry
        self._observed = None if telemetry is None else ObservedRuns(telemetry)
        self._scores = SessionScores(settings, self.patience)
        self.is_paused = False
        self.pace = self._pace = fit_open_files(settings.pace)
        self._leases = open_leases(settings, api_key, leaser)
        self._throttle = Throttle(self._pace, self.quota_use, self._leases)
        self.quota_use_now = self._throttle.quota_use_now
        self.budget = SessionBudget(
            settings.max_cost_usd, settings.profile.usd_per_unit, earlier_usd
        )
        self._endpoint: Endpoint | None = None
        self._runs: list[SessionRun] = []
        self._past = Metrics()
        self._stopped_by: RerankError | None = None

    async def __aenter__(self) -> Self:
        """Open the connections, and the score store that all runs share.

        Raises:
            SettingsError: if the address or the key cannot be used, or the store not be written.
            OutageTooLong: if the quota's leaser cannot be reached.
            OutputFailed: if the store cannot be read.
        """
        async with AsyncExitStack() as resources:
            if self._leases is not None:
                leases = self._leases.running(check=self.raise_if_stopped)
                await resources.enter_async_context(leases)
            self._endpoint = await resources.enter_async_context(
                open_endpoint(
                    self.settings,
                    self._api_key,
                    self._throttle,
                    self.budget.shared,
                    transport=self._transport,
                    telemetry=self._telemetry,
                )
            )
            await self._scores.open(resources)
            self._resources = resources.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections and the score store.

        Raises:
            OutputFailed: if an answer could not be written.
        """
        await self._resources.__aexit__(kind, error, traceback)

    def raise_if_stopped(self) -> None:
        """Raise the error that the session was stopped by, if it was."""
        if self._stopped_by is not None:
            raise self._stopped_by.with_traceback(None)

    @property
    def outage_s(self) -> float:
        """For how many seconds the service has been down; 0 while it is up."""
        return 0.0 if self._endpoint is None else self._endpoint.outage_s

    @property
    def num_unsaved(self) -> int:
        """Paid answers that are in no store yet, or are lost since they could not be saved."""
        return self._scores.num_unsaved

    @property
    def is_stopping(self) -> bool:
        """Whether the session was asked to stop, or must stop."""
        return self._stopped_by is not None

    def stop(self, signal_number: int) -> None:
        """Stop all runs: send nothing more, wait some seconds for what is in flight, save it."""
        if self._stopped_by is None:
            log_event(log, logging.WARNING, "run.stopping", signal=int(signal_number))
            self.stop_by(Interrupted(signal_number))

    def stop_by(self, error: RerankError) -> None:
        """Stop all runs, which end with this error; only the first call counts."""
        if self._stopped_by is None:
            self._stopped_by = error
            for run in self._runs:
                run.stop_by(error)

    def observed_run(self, output: Location) -> RunTelemetry | None:
        """Return what reports a run to OpenTelemetry; None if nothing does."""
        if self._observed is None:
            return None
        return self._observed.begin(
            {
                "rerank.output": output.name,
                "rerank.provider": self.settings.provider.name,
                "rerank.model": self.settings.profile.name,
            }
        )

    def metrics(self) -> Metrics:
        """Return the numbers of all runs together, as they are now."""
        total = Metrics()
        for metrics in (self._past, *(run.metrics for run in self._runs)):
            total.merge(metrics)
        return total

    @contextmanager
    def attached(self, run: SessionRun) -> Iterator[None]:
        """Count a run as one of this session while the body runs.

        Raises:
            RerankError: the one that the session was stopped by.
        """
        self.raise_if_stopped()
        self._runs.append(run)
        try:
            yield
        finally:
            self._runs.remove(run)
            self._past.merge(run.metrics)
            if not self._runs:
                self._throttle.set_pace(self._pace)  # what a run's pace file said ends with it
                self.pace, self.is_paused = self._pace, False

    def client(
        self, metrics: Metrics, stop_switch: StopSwitch, gate: Gate | Gates, budget: RunBudget
    ) -> RerankClient:
        """Return a client for one run, which sends nothing while the gate is closed."""
        assert self._endpoint is not None, "the session is not open"
        return RerankClient(
            self._endpoint, metrics=metrics, stop_switch=stop_switch, gate=gate, budget=budget
        )

    def set_pace(self, pace: Pace) -> None:
        """Change the pace of all runs from now on."""
        self.pace, self.is_paused = pace, pace.is_paused
        self._throttle.set_pace(fit_open_files(pace))

    def scores(self, output: Location) -> AbstractAsyncContextManager[SharedScores]:
        """Open the score store for the run on an output; its answers are saved when the body ends.

        Raises:
            OutputFailed: if the store cannot be read or written.
        """
        return self._scores.of_output(output)
