"""The dataset: source, fan-out, parts, summary. The composition of a whole run.

A run on an output that another run began continues it: finished parts are not read again, answers
that were paid for come from the score store, and only the rest is asked for.
"""

import asyncio
import logging
from collections.abc import Collection, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import Any

from pipeline.core.errors import Interrupted, OutputFailed, RerankError, first_leaf
from pipeline.core.events import log_event
from pipeline.core.settings import RunSettings
from pipeline.dataset.cached_scorer import CachedScorer
from pipeline.dataset.reader import GroupReader
from pipeline.dataset.run_stats import RunStats
from pipeline.dataset.summary import RunSummary
from pipeline.dataset.workers import GroupScheduler
from pipeline.output.layout import SCORES_FOLDER
from pipeline.output.lock.lock import hold_output
from pipeline.output.manifest import check_or_create
from pipeline.output.pace_file import PaceFile
from pipeline.output.part_borders import PartBorders
from pipeline.output.part_info import PartInfo
from pipeline.output.run_records import recorded_run
from pipeline.output.sink import Sink
from pipeline.output.validation import locate_output, validate_output
from pipeline.planning.planner import Planner
from pipeline.planning.reuse import PartialReuse
from pipeline.score_store.store import ScoreStore
from pipeline.service.connect import open_client
from pipeline.service.cost_budget import CostBudget
from pipeline.service.throttle.throttle import Throttle
from pipeline.source.listing import list_input
from pipeline.source.source import Source

log = logging.getLogger(__name__)


class DatasetJob:
    """One run of the job over a dataset.

    Args:
        input_name: A file, a folder, a glob or an object-store URI.
        output_name: A folder or an object-store URI.
        settings: What to do.
        api_key: The service's key; never written anywhere.

    Attributes:
        has_begun: The run holds its output, and keeps a record there.
    """

    def __init__(
        self, input_name: str, output_name: str, settings: RunSettings, api_key: str | None
    ) -> None:
        self.input_name = input_name
        self.output = locate_output("OUTPUT", output_name)
        self.settings = settings
        self._store_folder = (
            locate_output("--score-store", settings.score_store)
            if settings.score_store
            else self.output.child(SCORES_FOLDER)
        )
        self._api_key = api_key
        self._numbers = RunStats(settings)
        self._work: GroupScheduler | None = None
        self._stopped_by: RerankError | None = None
        self._waiting: asyncio.Task[Any] | None = None
        self._begun_us = 0
        self.has_begun = False

    @property
    def is_stopping(self) -> bool:
        """The job was asked to stop, and is saving what is paid."""
        return self._stopped_by is not None

    def stop(self, signal_number: int) -> None:
        """Stop in order: admit no request, await those in flight for 4 s, save."""
        if self._stopped_by is not None:
            return
        self._stopped_by = Interrupted(signal_number)
        log_event(log, logging.WARNING, "run.stopping", signal=int(signal_number))
        if self._work is not None:
            self._work.stop(self._stopped_by)
        elif self._waiting is not None:
            self._waiting.cancel()

    async def run(self) -> RunSummary:
        """Rerank the dataset, or what is missing of it.

        Raises:
            InputError: if the candidates cannot be read or understood.
            SettingsError: if the output lies within the input.
            OutputMismatch: if the output belongs to other settings or input.
            OutputBusy: if another run holds the output.
            OutputFailed: if the output cannot be written.
            ServiceEnded: if the service gives no more answers; what was paid is saved.
            Interrupted: after `stop`; what was paid is saved.
        """
        try:
            return await self._run()
        except BaseExceptionGroup as group:  # of task groups; callers know our errors alone
            raise first_leaf(group) from group

    async def _run(self) -> RunSummary:
        with self._interruptible():
            source = await asyncio.to_thread(self._open_source)
        self._numbers.set_candidates(source.num_candidates)
        async with AsyncExitStack() as held:
            with self._interruptible():
                lock = hold_output(self.output, wait_s=self.settings.lock_wait_s)
                await held.enter_async_context(lock)
            sink = await asyncio.to_thread(self._open_sink, source)
            parts = await asyncio.to_thread(sink.read_part_infos)
            async with recorded_run(
                self.output,
                input_name=self.input_name,
                model=self.settings.profile.name,
                snapshot=self._numbers.facts,
                on_end=self._numbers.end,
                is_partial=lambda: self._numbers.rejected() > self.settings.max_rejects,
            ):
                self.has_begun = True
                if self._is_done(source, sink, parts.values()):
                    self._numbers.finished = parts
                else:
                    whole = {i: part for i, part in parts.items() if not part.num_rejected}
                    self._numbers.finished = whole
                    await self._rerank(source, sink)
                self._numbers.conclude()
        return self.look()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """`stop` ends the wait in the body, which has changed nothing yet."""
        if self._stopped_by is not None:
            raise self._stopped_by
        self._waiting = asyncio.current_task()
        try:
            yield
        except asyncio.CancelledError:
            if self._stopped_by is None:
                raise
            raise self._stopped_by from None
        finally:
            self._waiting = None

    def _open_source(self) -> Source:
        settings = self.settings
        source = Source(
            list_input(self.input_name),
            columns=settings.columns,
            layout=settings.layout,
            with_text=settings.with_text,
            duplicates=settings.duplicates,
        )
        # Before the lock, which would leave its file there.
        validate_output(self.output, self.input_name)
        return source

    def _open_sink(self, source: Source) -> Sink:
        settings = self.settings
        manifest = check_or_create(
            self.output,
            settings.output_settings(),
            source.listing.facts(),
            restart=settings.restart,
        )
        self._begun_us = int(manifest.created.timestamp() * 1e6)
        return Sink(
            self.output,
            source.output_schema,
            fingerprint=manifest.fingerprint,
            top_n=settings.top_n,
        )

    def _is_done(self, source: Source, sink: Sink, parts: Collection[PartInfo]) -> bool:
        """Whether there is nothing to do: an earlier run may have allowed more rejects."""
        rejected = sum(part.num_rejected for part in parts)
        return (
            rejected <= self.settings.max_rejects
            and sink.is_finished()
            and _cover_input(parts, source.listing.num_rows)
        )

    async def _rerank(self, source: Source, sink: Sink) -> None:
        """Rank what is not finished, and commit the output."""
        settings, numbers = self.settings, self._numbers
        finished, metrics = numbers.finished.values(), numbers.metrics
        throttle = Throttle(settings.pace, metrics)
        budget = CostBudget(settings.max_cost_usd, settings.profile.usd_per_token)
        pace_file = PaceFile(self.output, settings.pace, throttle.set_pace)
        async with (
            ScoreStore(
                self._store_folder, scope=settings.score_scope(), begun_us=self._begun_us
            ) as store,
            open_client(settings, self._api_key, throttle, metrics, budget) as client,
        ):
            numbers.answers = CachedScorer(store, client)
            planner = Planner(settings)
            reader = GroupReader(
                source.read(finished=[(p.first_row, p.stop_row) for p in finished]),
                planner,
                PartBorders(settings.groups_per_part, finished),
                reuse=PartialReuse(store.earlier_answers(), store.query_key)
                if settings.reuse == "partial"
                else None,
                check=partial(numbers.count_groups, source),
            )
            numbers.work = self._work = GroupScheduler(
                reader,
                planner,
                sink,
                numbers.answers,
                on_ranked=numbers.count_ranked,
                on_size_refusal=numbers.count_size_refusal,
                target_concurrency=client.target_concurrency,
                on_stop=client.stop,
            )
            if self._stopped_by is not None:
                raise self._stopped_by
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(pace_file.follow(), name="pace-file")
                try:
                    await self._work.run()
                finally:
                    following.cancel()
            complete = numbers.rejected() <= settings.max_rejects
            await asyncio.to_thread(sink.finish, len(numbers.parts()), complete=complete)
            try:
                await store.compact()
            except OutputFailed as failure:  # the output is whole, and the next run tries again
                log_event(log, logging.WARNING, "score_store.not_compacted", error=str(failure))

    def look(self) -> RunSummary:
        """The numbers as they are now."""
        return self._numbers.look()


def _cover_input(parts: Collection[PartInfo], num_rows: int) -> bool:
    """Return whether the parts hold all rows of the input, one part after the other."""
    row = 0
    for index, part in enumerate(sorted(parts, key=lambda part: part.index)):
        if (part.index, part.first_row) != (index, row):
            return False
        row = part.stop_row
    return row == num_rows
