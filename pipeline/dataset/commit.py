"""Publish results only after their answers are saved, and retry what fails."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from pipeline.core.gate import Gate
from pipeline.core.stop import StopSwitch
from pipeline.dataset.offload import run_to_end
from pipeline.output.part_info import PartInfo
from pipeline.score_store.store import ScoreStore
from pipeline.storage.retries import Patience, insist

Result = TypeVar("Result")


async def write_patiently(
    work: Callable[[], Result],
    patience: Patience,
    stop_switch: StopSwitch,
    held: Gate | None = None,
) -> Result:
    """Return the result of `work`, which writes; run it in a thread, and retry it if it fails.

    Args:
        work: Must be safe to repeat, whatever it has done before it failed.
        patience: How long to retry.
        stop_switch: Ends the waits.
        held: `work` is begun only while this gate is open.

    Raises:
        OutputFailed: if it failed for too long.
        RerankError: as the stop switch says, which ends the wait for another try.
    """

    async def sleep(wait_s: float) -> None:
        with stop_switch.interruptible():
            await asyncio.sleep(wait_s)

    async def act() -> Result:
        if held is not None:
            with stop_switch.interruptible():
                await held.wait()
        return await run_to_end(work)

    return await insist(act, patience, sleep=sleep)


class Committer:
    """Commits the parts of an output, and its end, once the answers are saved.

    Args:
        store: Holds the answers.
        held: Open while the output is certainly held.
        patience: How long to retry.
        stop_switch: Ends all waits.
    """

    def __init__(
        self, store: ScoreStore, held: Gate, patience: Patience, stop_switch: StopSwitch
    ) -> None:
        self._store = store
        self._held = held
        self._patience = patience
        self._stop_switch = stop_switch

    async def commit_part(self, publish: Callable[[], PartInfo]) -> PartInfo:
        """Publish a part; if the score store is remote, save all answers first.

        Raises:
            OutputFailed: if that failed for too long; the part is then absent.
            RerankError: as the stop switch says.
        """
        if not self._store.is_local:
            await self._save_answers()
        return await write_patiently(publish, self._patience, self._stop_switch, self._held)

    async def commit_output(self, finish: Callable[[], None]) -> None:
        """Mark the output as finished, once every answer is saved.

        Raises:
            OutputFailed: if that failed for too long.
            RerankError: as the stop switch says.
        """
        await self._save_answers()
        await write_patiently(finish, self._patience, self._stop_switch, self._held)

    async def _save_answers(self) -> None:
        with self._stop_switch.interruptible():
            await self._store.flush()
