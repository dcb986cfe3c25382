"""A whole run: from the source, group by group, to the parts of one output.

A run on an output that another run began continues it: finished parts are not read again, answers
that were paid for come from the score store, and only the rest is sent.
"""

import asyncio
import logging
from contextlib import AsyncExitStack
from functools import partial

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
from pipeline.dataset.commit import Committer
from pipeline.dataset.first_checks import check_ids
from pipeline.dataset.reader import GroupReader
from pipeline.dataset.resume import OpenedOutput
from pipeline.dataset.run_opening import RunOpening
from pipeline.dataset.run_progress import RunProgress
from pipeline.dataset.run_stats import RunStats
from pipeline.dataset.session import Session
from pipeline.dataset.shard_work import ShardWork, earlier_for_shard
from pipeline.dataset.summary import RunSummary
from pipeline.dataset.workers import GroupScheduler
from pipeline.output.layout import REJECTS_FOLDER
from pipeline.output.lock.lock import hold_output
from pipeline.output.pace_file import PaceFile
from pipeline.output.part_borders import PartBorders
from pipeline.output.validation import locate_output
from pipeline.planning.planner import Planner
from pipeline.planning.reuse import PartialReuse
from pipeline.service.metrics import Metrics
from pipeline.source.source import Source
from pipeline.storage.retries import insist

log = logging.getLogger(__name__)


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
        self._stats.telemetry = session.observed_run(self._output)
        self._progress = RunProgress(session, self._settings, self._output, self._stats)

    @property
    def metrics(self) -> Metrics:
        """The numbers of this run so far."""
        return self._stats.metrics

    @property
    def is_draining(self) -> bool:
        """Whether all groups are in work, so that there will soon be nothing left to send."""
        return self._scheduler is not None and self._scheduler.is_draining

    def snapshot(self) -> RunSummary:
        """Return the numbers of this run as they are now."""
        return self._progress.snapshot()

    def stop(self, signal_number: int) -> None:
        """Stop this run: send nothing more, wait some seconds for what is in flight, save it."""
        if self._stop_switch.error is None:
            log_event(log, logging.WARNING, "run.stopping", signal=int(signal_number))
            self.stop_by(Interrupted(signal_number))

    def stop_by(self, error: RerankError) -> None:
        """Stop this run cleanly; it ends with this error. Only the first call counts."""
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
        with self._session.attached(self), self._progress.reported():
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
        opening = RunOpening(
            session,
            settings,
            self._input_name,
            self._output,
            stats=stats,
            stop_switch=self._stop_switch,
        )
        async with AsyncExitStack() as held:
            # Until the output is held a stop may cut every wait short: nothing is changed yet.
            with self._stop_switch.interruptible():
                given = await opening.find_input()
                lock = hold_output(
                    self._output,
                    shard=settings.shard,
                    wait_s=settings.lock_wait_s,
                    max_outage_s=session.patience.max_outage_s,
                )
                is_held = await held.enter_async_context(lock)
            opened = await opening.open_output(given)
            runs = await opening.read_records()
            earlier_usd = stats.earlier_usd = sum(run.spent_usd for run in runs)
            if settings.shard is not None:
                limit_usd = settings.max_cost_usd
                earlier_usd = earlier_for_shard(runs, settings.shard, limit_usd)
            async with self._progress.recorded(self._input_name) as record:
                self.has_begun = True
                opened = replace(opened, num_input_rows=given.num_rows)
                state = partial(insist, record.write, session.patience)
                stats.budget = session.budget.begin(self._output.name, earlier_usd, state)
                if opened.is_done(settings.max_rejects):
                    stats.finished = dict(opened.parts)
                else:
                    source, work = await opening.open_input(given, opened)
                    opened = opened.with_input(source).of_shard(work)
                    stats.finished = opened.parts_without_rejects()
                    async with session.scores(self._output) as scores:
                        await self._rerank(source, opened, work, scores, is_held)
                if stats.rejected() <= settings.max_rejects:
                    await opening.discard_prepared(given)
                stats.conclude()

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
        gate = self._progress.gate = Gates(scores.store.gate, is_held)
        client = session.client(stats.metrics, self._stop_switch, gate, stats.budget)
        committer = Committer(scores.store, is_held, session.patience, self._stop_switch)
        reuse = None
        if settings.reuse == "partial":
            reuse = PartialReuse(await scores.store.earlier_answers(opened.begun_us))
        check = partial(check_ids, source, stats, duplicates=settings.duplicates)
        reader = GroupReader(
            source.read(finished=[(part.first_row, part.stop_row) for part in finished]),
            planner,
            PartBorders(settings.groups_per_part, finished),
            reuse=reuse,
            check=None if work is not None else check,
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

    def _fail(self, error: RerankError) -> None:
        """Stop this run; an error of the service stops all runs of the session."""
        if isinstance(error, ServiceEnded):
            self._session.stop_by(error)
        self.stop_by(error)
