"""Many partitions in one session: each an ordinary run with an output of its own.

Partitions overlap in time: the next one begins when the last groups of an earlier one are in work,
so that the quota is used while these are answered. An error of one partition leaves the others
alone; an error of the service or the budget ends all.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from msgspec.structs import replace

from pipeline.core.background import background
from pipeline.core.errors import (
    Interrupted,
    OutputMismatch,
    RerankError,
    SettingsError,
    first_leaf,
)
from pipeline.core.events import log_event
from pipeline.core.settings import RunSettings
from pipeline.dataset.backfill_result import PartitionResult, total, worst_error
from pipeline.dataset.rerank import DatasetRun
from pipeline.dataset.session import Session
from pipeline.dataset.summary import RunSummary
from pipeline.output.layout import MANIFEST_NAME, SCORES_FOLDER
from pipeline.output.lock.lock import hold_output
from pipeline.output.pace_file import PaceFile
from pipeline.output.run_records import EndState, read_spent_usd, recorded_run
from pipeline.storage.location import Location
from pipeline.storage.partitions import Partition, list_partitions

log = logging.getLogger(__name__)

BUSY_AT_ONCE: Final = 2
"""Partitions with groups left to begin: while one is opened, the other one sends."""
AT_ONCE: Final = 16
"""Partitions in work, including those that only wait for their last answers."""
POLL_S: Final = 0.02
"""Seconds between two checks of the partitions in work."""


def backfill_settings(settings: RunSettings, root: Location) -> RunSettings:
    """Return the settings of a backfill's session, whose runs share one score store."""
    if settings.score_store is not None:
        return settings
    return replace(settings, score_store=root.child(SCORES_FOLDER).name)


def spent_usd(root: Location) -> float:
    """Return what all runs on the partitions of a root may have cost, in US dollars.

    Raises:
        OutputFailed: if their records cannot be read.
    """
    return sum(read_spent_usd(partition.location) for partition in list_partitions(root))


class Backfill:
    """One run over many partitions; to be run once.

    Args:
        session: Access to the service, with `backfill_settings` and `spent_usd`; open when `run`
            is called.
        partitions: What to rerank, in order.
        root: OUTPUT_ROOT; a partition's output is `KEY=VALUE/` there.
        restart: Begin anew the partitions whose settings or input have changed.

    Attributes:
        has_begun: It holds OUTPUT_ROOT, and keeps a record there.
    """

    def __init__(
        self,
        session: Session,
        partitions: Sequence[Partition],
        root: Location,
        *,
        restart: bool = False,
    ) -> None:
        self.has_begun = False
        self._session = session
        self._partitions = partitions
        self._root = root
        self._restart = restart
        self._runs: dict[str, DatasetRun] = {}
        self._results = {p.folder: PartitionResult(name=p.folder) for p in partitions}
        self._in_work: set[str] = set()
        self._state: EndState | None = None
        self._started = time.monotonic()

    def results(self) -> list[PartitionResult]:
        """Return the partitions in their order, as they are now."""
        return [
            replace(result, summary=self._runs[name].snapshot())
            if name in self._runs and result.summary is None
            else result
            for name, result in self._results.items()
        ]

    def partitions_done(self) -> tuple[int, int, float]:
        """Return how many partitions have ended, of how many, and the share of the work done.

        All partitions count alike, those that go on by the share of their candidates.
        """
        ended = sum(result.has_ended for result in self._results.values())
        going = [run.snapshot() for run in self._runs.values()]
        shares = [now.candidates_done / now.candidates for now in going if now.candidates]
        total = len(self._results)
        return ended, total, min(ended + sum(shares), total) / total

    def snapshot(self) -> RunSummary:
        """Return the numbers of all partitions together, as they are now."""
        summaries = [result.summary for result in self.results() if result.summary is not None]
        seconds = time.monotonic() - self._started
        return total(summaries, state=self._state or "running", seconds=seconds)

    async def run(self) -> RunSummary:
        """Rerank the partitions, or what is missing of them.

        Raises:
            OutputMismatch: if the root is an output itself.
            OutputBusy: if another backfill holds the root.
            RerankError: after all partitions, the worst error of one; see `worst_error`.
            ServiceEnded: if the service gives no more answers; no waiting partition begins.
            Interrupted: after a signal.
        """
        if self._root.child(MANIFEST_NAME).exists() or self._root.size_bytes() is not None:
            raise OutputMismatch(
                "is not the root of a backfill but an output, or a file",
                which=self._root.name,
                cure="choose another OUTPUT_ROOT",
            )
        async with AsyncExitStack() as held:
            wait_s = self._session.settings.lock_wait_s
            max_outage_s = self._session.patience.max_outage_s
            await held.enter_async_context(
                hold_output(self._root, wait_s=wait_s, max_outage_s=max_outage_s)
            )
            async with recorded_run(
                self._root,
                input_name=self._partitions[0].location.name.rpartition("/")[0],
                model=self._session.settings.profile.name,
                snapshot=self._record_facts,
                on_end=self._end,
                is_partial=lambda: False,
            ):
                self.has_begun = True
                pace = PaceFile(self._root, self._session.settings.pace, self._session.set_pace)
                async with background(pace.follow(), name="pace-file"):
                    await self._run_all()
                if (worst := worst_error(self._results.values())) is not None:
                    raise worst
                if not all(result.has_ended for result in self._results.values()):
                    self._session.raise_if_stopped()  # while no partition was in work
        return self.snapshot()

    async def _run_all(self) -> None:
        """Begin one partition after the other, each as soon as it can use the quota."""
        async with asyncio.TaskGroup() as tasks:
            for partition in self._partitions:
                await self._wait_for_room()
                if self._session.is_stopping:
                    return
                self._in_work.add(partition.folder)
                tasks.create_task(self._run_one(partition), name=partition.folder)

    async def _wait_for_room(self) -> None:
        """Wait until another partition should be begun, or the session stops."""
        while True:
            if self._session.is_stopping or self._has_room():
                return
            await asyncio.sleep(POLL_S)

    def _has_room(self) -> bool:
        """Return whether another partition should be begun."""
        runs = [self._runs.get(name) for name in self._in_work]
        busy = sum(run is None or not run.is_draining for run in runs)
        return busy < BUSY_AT_ONCE and len(runs) < AT_ONCE

    async def _run_one(self, partition: Partition) -> None:
        name = partition.folder
        error: RerankError | None = None
        try:
            await self._rerank(partition, self._session.settings)
        except OutputMismatch as mismatch:
            error = mismatch
            if self._restart and self._root.child(name, MANIFEST_NAME).exists():
                error = await self._again(partition)
        except RerankError as failure:
            error = failure
        except Exception as bug:  # one partition's, which must not end the others
            leaf = first_leaf(bug)
            error = RerankError(f"unexpected {type(leaf).__name__}: {leaf}", which=name)
        run = self._runs.pop(name, None)  # the run holds memory, and its numbers are final
        summary = run.snapshot() if run is not None else None
        self._results[name] = PartitionResult(name=name, summary=summary, error=error)
        self._in_work.remove(name)
        if error is not None and not isinstance(error, Interrupted):
            log_event(log, logging.WARNING, "partition.failed", partition=name, error=str(error))

    async def _again(self, partition: Partition) -> RerankError | None:
        """Begin a partition anew, whose settings or input have changed."""
        try:
            await self._rerank(partition, replace(self._session.settings, restart=True))
        except RerankError as failure:
            return failure
        return None

    async def _rerank(self, partition: Partition, settings: RunSettings) -> None:
        output = self._root.child(partition.folder).name
        run = DatasetRun(self._session, partition.location.name, output, settings=settings)
        self._runs[partition.folder] = run
        await run.run()

    def _end(self, state: EndState) -> None:
        self._state = state
        log_event(log, logging.INFO, "backfill.ended", **self.snapshot().log_fields())

    def _record_facts(self) -> dict[str, Any]:
        facts = self.snapshot().as_json()
        facts.pop("state")
        return facts | {"partitions": [partition.folder for partition in self._partitions]}


def refuse_input_as_root(input_root: Location, root: Location) -> None:
    """Refuse an OUTPUT_ROOT that is the INPUT_ROOT.

    Raises:
        SettingsError: if both are the same folder.
    """
    if (input_root.files, input_root.path) == (root.files, root.path):
        raise SettingsError("OUTPUT_ROOT is INPUT_ROOT", which=root.name, cure="choose another one")
