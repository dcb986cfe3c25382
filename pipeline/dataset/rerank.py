"""A whole run: from the source, group by group, to the parts of one output.

A run on an output that another run began continues it: finished parts are not read again, answers
that were paid for come from the score store, and only the rest is sent.
"""

import asyncio
import logging
import threading
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from pipeline.core.background import background
from pipeline.core.errors import (
    Interrupted,
    RerankError,
    ServiceEnded,
    TooManyRejects,
    first_leaf,
)
from pipeline.core.events import log_event
from pipeline.core.gate import Gate, Gates
from pipeline.core.settings import RunSettings
from pipeline.core.stop import StopSwitch
from pipeline.dataset.cached_scorer import CachedScorer, SharedScores
from pipeline.dataset.commit import Committer, write_patiently
from pipeline.dataset.offload import run_abandonable
from pipeline.dataset.reader import GroupReader, log_odd_input, log_repeated_ids
from pipeline.dataset.resume import OpenedOutput, open_output
from pipeline.dataset.run_input import RunInput, find_input
from pipeline.dataset.run_stats import RunStats
from pipeline.dataset.session import Session
from pipeline.dataset.shard_work import ShardWork, earlier_for_shard, share_out
from pipeline.dataset.summary import RunSummary
from pipeline.dataset.ticker import Ticker
from pipeline.dataset.workers import GroupScheduler
from pipeline.output.layout import REJECTS_FOLDER
from pipeline.output.lock.lock import hold_opening, hold_output
from pipeline.output.pace_file import PaceFile
from pipeline.output.part_borders import PartBorders
from pipeline.output.run_records import EndState, read_run_records, recorded_run
from pipeline.output.validation import locate_output, validate_output
from pipeline.planning.planner import Planner
from pipeline.planning.reuse import PartialReuse
from pipeline.service.metrics import Metrics
from pipeline.source.source import Source
from pipeline.storage.patient_reads import PatientReads
from pipeline.storage.retries import insist

log = logging.getLogger(__name__)

MAX_COUNTED_ROWS: Final = 50_000_000
"""Reading the ids of so many rows takes some seconds of one core."""


async def rerank_dataset(session: Session, input_name: str, output_name: str) -> RunSummary:
    """Rerank a dataset, or what is missing of it; see `DatasetRun.run`."""
    return await DatasetRun(session, input_name, output_name).run()


class DatasetRun:
    """One run over a dataset, which can be watched and stopped while it goes on.

    Args:
        session: Access to the service; open when `run` is called.
        input_name: A file, a folder, a glob or an object-store URI.
        output_name: A folder or an object-store URI.
        settings: What to do, where it differs from the session's settings.

    Attributes:
        has_begun: The run holds its output, and keeps a record there.

    Raises:
        SettingsError: for an output address that no file system understands.
    """

    def __init__(
        self,
        session: Session,
        input_name: str,
        output_name: str,
        *,
        settings: RunSettings | None = None,
    ) -> None:
        self.has_begun = False
        self._session = session
        self._settings = settings or session.settings
        self._input_name = input_name
        self._output = locate_output("OUTPUT", output_name)
        self._stats = RunStats(self._settings, session.quota_use)
        self._stop_switch = StopSwitch()
        self._scheduler: GroupScheduler | None = None
        self._gate: Gates | None = None
        self._stats.telemetry = session.observed_run(self._output)

    @property
    def metrics(self) -> Metrics:
        """What this run did so far."""
        return self._stats.metrics

    @property
    def is_draining(self) -> bool:
        """Whether all groups are in work, so that soon there is nothing more to send."""
        return self._scheduler is not None and self._scheduler.is_draining

    def snapshot(self) -> RunSummary:
        """Return the numbers of this run as they are now."""
        return self._stats.snapshot(self._session.outage_s)

    def stop(self, signal_number: int) -> None:
        """Stop this run: send nothing more, wait some seconds for what is in flight, save it."""
        if self._stop_switch.error is None:
            log_event(log, logging.WARNING, "run.stopping", signal=int(signal_number))
            self.stop_by(Interrupted(signal_number))

    def stop_by(self, error: RerankError) -> None:
        """Stop this run in order; it ends with this error. Only the first call counts."""
        self._stop_switch.stop(error)

    async def run(self) -> RunSummary:
        """Rerank the dataset, or what is missing of it; to be called once.

        Raises:
            InputError: if the candidates cannot be read or understood.
            SettingsError: if the output lies within the input.
            OutputMismatch: if the output belongs to other settings or input.
            OutputBusy: if another run holds the output.
            OutputFailed: if the output cannot be written.
            ServiceEnded: if the service gives no more answers; what was paid is saved.
            Interrupted: after `stop`; what was paid is saved.
            TooManyRejects: if the run is done, but more candidates than allowed have no score.
        """
        observed = self._stats.telemetry
        reported = nullcontext() if observed is None else observed.running(self.snapshot)
        with self._session.attached(self), reported:
            try:
                await self._run()
            except BaseExceptionGroup as group:  # of task groups; callers know our errors alone
                raise first_leaf(group) from group
        summary = self.snapshot()
        if summary.rejected > self._settings.max_rejects:
            raise TooManyRejects(
                "candidates without a score",
                which=self._output.child(REJECTS_FOLDER).name,
                found=summary.rejected,
                expected=f"at most {self._settings.max_rejects}",
                cure="the same command asks again for them alone",
            )
        return summary

    async def _run(self) -> None:
        """Hold the output, keep a record, and rank what is not finished."""
        session, stats, settings = self._session, self._stats, self._settings
        async with AsyncExitStack() as held:
            # Until the output is held a stop may cut every wait short: nothing is changed yet.
            with self._stop_switch.interruptible():
                given = await run_abandonable(self._find_input, name="find-input")
                stats.candidates = given.num_candidates
                lock = hold_output(
                    self._output,
                    shard=settings.shard,
                    wait_s=settings.lock_wait_s,
                    max_outage_s=session.patience.max_outage_s,
                )
                is_held = await held.enter_async_context(lock)
            async with self._one_shard_at_a_time():
                opened = await write_patiently(
                    partial(open_output, self._output, settings, given.facts),
                    session.patience,
                    self._stop_switch,
                )
            runs = await write_patiently(
                partial(read_run_records, self._output), session.patience, self._stop_switch
            )
            earlier_usd = stats.earlier_usd = sum(run.spent_usd for run in runs)
            if settings.shard is not None:
                limit_usd = settings.max_cost_usd
                earlier_usd = earlier_for_shard(runs, settings.shard, limit_usd)
            ticker = Ticker(
                stats,
                session.quota_use_now,
                self._stopped_by,
                waits_for_money=self._waits_for_money,
                on_sample=self._observe,
            )
            recorded = recorded_run(
                self._output,
                input_name=self._input_name,
                model=settings.profile.name,
                snapshot=self._record_facts,
                on_end=partial(self._end, ticker),
                is_partial=lambda: stats.rejected() > settings.max_rejects,
            )
            async with recorded as record, background(ticker.run(), name="ticks"):
                self.has_begun = True
                opened = replace(opened, num_input_rows=given.num_rows)
                state = partial(insist, record.write, session.patience)
                stats.budget = session.budget.begin(self._output.name, earlier_usd, state)
                if opened.is_done(settings.max_rejects):
                    stats.finished = dict(opened.parts)
                else:
                    async with self._one_shard_at_a_time():
                        source = await self._open(given)
                        work = await self._share_out(source, opened)
                    opened = opened.with_input(source).of_shard(work)
                    stats.finished = opened.parts_without_rejects()
                    async with session.scores(self._output) as scores:
                        await self._rerank(source, opened, work, scores, is_held)
                if stats.rejected() <= settings.max_rejects and settings.shard is None:
                    await asyncio.to_thread(given.discard)
                stats.conclude()

    def _one_shard_at_a_time(self) -> AbstractAsyncContextManager[None]:
        """Do what shards share while no other shard does it; a whole run has no others."""
        if self._settings.shard is None:
            return nullcontext()
        return hold_opening(self._output, max_outage_s=self._session.patience.max_outage_s)

    async def _share_out(self, source: Source, opened: OpenedOutput) -> ShardWork | None:
        """Find out what this shard does; None for a whole run."""
        shard = self._settings.shard
        if shard is None:
            return None
        work = partial(
            share_out,
            self._output,
            source,
            shard,
            fingerprint=opened.fingerprint,
            groups_per_part=self._settings.groups_per_part,
            check=self._stop_switch.raise_if_stopped,
        )
        found = await write_patiently(work, self._session.patience, self._stop_switch)
        self._stats.groups = found.num_groups
        self._stats.candidates = found.num_rows if source.rows_are_candidates else None
        return found

    def _find_input(self) -> RunInput:
        """Find the input's files, and check the columns of those that need no preparation."""
        session, switch = self._session, self._stop_switch
        reads = PatientReads(session.patience, lambda: switch.error is not None)
        given = find_input(
            self._input_name, self._output, self._settings, session.limits.batch, reads
        )
        # Before the output is locked, which would leave a file there.
        validate_output(self._output, self._input_name)
        return given

    async def _open(self, given: RunInput) -> Source:
        """Open the input, which may take minutes to prepare."""
        with self._stop_switch.interruptible():
            work = partial(given.open, self._stop_switch.raise_if_stopped)
            source = await run_abandonable(work, name="prepare-input")
        log_odd_input(source)
        self._stats.candidates = source.num_candidates
        return source

    async def _rerank(
        self,
        source: Source,
        opened: OpenedOutput,
        work: ShardWork | None,
        scores: SharedScores,
        is_held: Gate,
    ) -> None:
        """Rank what is not finished, and commit the output."""
        session, settings, stats = self._session, self._settings, self._stats
        finished, planner = [*stats.finished.values()], Planner(settings)
        if work is not None:
            finished += work.others
        assert stats.budget is not None
        self._gate = Gates(scores.store.gate, is_held)
        client = session.client(stats.metrics, self._stop_switch, self._gate, stats.budget)
        committer = Committer(scores.store, is_held, session.patience, self._stop_switch)
        reuse = None
        if settings.reuse == "partial":
            reuse = PartialReuse(await scores.store.earlier_answers(opened.begun_us))
        reader = GroupReader(
            source.read(finished=[(part.first_row, part.stop_row) for part in finished]),
            planner,
            PartBorders(settings.groups_per_part, finished),
            reuse=reuse,
            check=None if work is not None else lambda: self._check_ids(source),
            limits=session.limits,
        )
        self._stop_switch.raise_if_stopped()
        self._scheduler = GroupScheduler(
            reader,
            planner,
            CachedScorer(scores, client.score, stats.metrics, self._stop_switch),
            opened.sink,
            committer,
            stats=stats,
            stop_switch=self._stop_switch,
            on_error=self._fail,
            target_concurrency=client.target_concurrency,
            limits=session.limits,
        )
        pace_file = PaceFile(self._output, settings.pace, session.set_pace)
        async with background(pace_file.follow(), name="pace-file"):
            await self._scheduler.run()
        complete = stats.rejected() <= settings.max_rejects
        await asyncio.to_thread(source.listing.refuse_changes)
        finish = partial(opened.finish, stats.parts(), complete=complete)
        await committer.commit_output(finish)

    async def _check_ids(self, source: Source) -> None:
        """Count the queries of the input and its repeated ids; only the ids are read.

        Raises:
            InputError: if the ids show a fault; nothing is paid for the input yet.
        """
        if source.num_rows > MAX_COUNTED_ROWS:
            return
        ended = threading.Event()
        try:
            checked = await asyncio.to_thread(source.check_ids, ended.is_set)
        finally:
            ended.set()  # the thread ends too, if nobody waits for it any more
        self._stats.groups = checked.num_groups
        log_repeated_ids(checked.num_repeated, self._settings.duplicates)

    def _fail(self, error: RerankError) -> None:
        """Stop this run; an error of the service stops all runs of the session."""
        if isinstance(error, ServiceEnded):
            self._session.stop_by(error)
        self.stop_by(error)

    def _stopped_by(self) -> str | None:
        """Return what keeps everything from being sent now, as `Ticker` asks for it."""
        causes = {
            "outage": self._session.outage_s > 0,
            "storage": self._gate is not None and not self._gate.is_open,
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
        """Note how the run ended, and log it."""
        ticker.sample(is_last=True)
        self._stats.end(state)
        log_event(log, logging.INFO, "run.ended", **self.snapshot().log_fields())
