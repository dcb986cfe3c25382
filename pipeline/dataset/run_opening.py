"""Open a run before it sends anything: its input, its output, and its share of them."""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial

from pipeline.core.settings import RunSettings
from pipeline.core.stop import StopSwitch
from pipeline.dataset.commit import write_patiently
from pipeline.dataset.offload import run_abandonable
from pipeline.dataset.reader import log_odd_input
from pipeline.dataset.resume import OpenedOutput, open_output
from pipeline.dataset.run_input import RunInput, find_input
from pipeline.dataset.run_stats import RunStats
from pipeline.dataset.session import Session
from pipeline.dataset.shard_work import ShardWork, share_out
from pipeline.output.lock.lock import hold_opening
from pipeline.output.run_records import RunRecord, read_run_records
from pipeline.output.validation import validate_output
from pipeline.source.source import Source
from pipeline.storage.location import Location
from pipeline.storage.patient_reads import PatientReads


class RunOpening:
    """Open input and output of one run, and count what they hold.

    Args:
        session: How patient to be, and how much to read at once.
        settings: What the run does.
        input_name: A file, a folder, a glob or an object-store URI.
        output: The output.
        stats: Where groups and candidates are counted.
        stop_switch: Cuts waits short.
    """

    def __init__(
        self,
        session: Session,
        settings: RunSettings,
        input_name: str,
        output: Location,
        *,
        stats: RunStats,
        stop_switch: StopSwitch,
    ) -> None:
        self._session = session
        self._settings = settings
        self._input_name = input_name
        self._output = output
        self._stats = stats
        self._stop_switch = stop_switch

    async def find_input(self) -> RunInput:
        """Find the input's files, and check the columns of those that need no preparation.

        Raises:
            InputError: if the candidates cannot be read or understood.
            SettingsError: if the output lies within the input.
        """
        given = await run_abandonable(self._find_input, name="find-input")
        self._stats.candidates = given.num_candidates
        return given

    def _find_input(self) -> RunInput:
        session, switch = self._session, self._stop_switch
        reads = PatientReads(session.patience, lambda: switch.error is not None)
        given = find_input(
            self._input_name, self._output, self._settings, session.limits.batch, reads
        )
        # Before the output is locked, which would leave a file there.
        validate_output(self._output, self._input_name)
        return given

    async def open_output(self, given: RunInput) -> OpenedOutput:
        """Open the output, which is held, for this input.

        Raises:
            OutputMismatch: if it belongs to other settings or input.
            OutputFailed: if it cannot be read or written.
        """
        async with self._one_shard_at_a_time():
            return await write_patiently(
                partial(open_output, self._output, self._settings, given.facts),
                self._session.patience,
                self._stop_switch,
            )

    async def read_records(self) -> list[RunRecord]:
        """Return the records of the runs on the output before this one."""
        return await write_patiently(
            partial(read_run_records, self._output), self._session.patience, self._stop_switch
        )

    async def open_input(
        self, given: RunInput, opened: OpenedOutput
    ) -> tuple[Source, ShardWork | None]:
        """Open the input, which may take minutes to prepare, and find out what is to be done.

        Returns:
            The input, and what this shard does; None for a whole run.
        """
        async with self._one_shard_at_a_time():
            with self._stop_switch.interruptible():
                work = partial(given.open, self._stop_switch.raise_if_stopped)
                source = await run_abandonable(work, name="prepare-input")
            log_odd_input(source)
            self._stats.candidates = source.num_candidates
            return source, await self._share_out(source, opened)

    async def _share_out(self, source: Source, opened: OpenedOutput) -> ShardWork | None:
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

    async def discard_prepared(self, given: RunInput) -> None:
        """Delete what was prepared of the input; shards leave it to the commit."""
        if self._settings.shard is None:
            await asyncio.to_thread(given.discard)

    def _one_shard_at_a_time(self) -> AbstractAsyncContextManager[None]:
        """Do what shards share while no other shard does it; a whole run has no others."""
        if self._settings.shard is None:
            return nullcontext()
        return hold_opening(self._output, max_outage_s=self._session.patience.max_outage_s)
