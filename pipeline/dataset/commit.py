"""Publish the results of a run after the answers that they are made of, and with patience."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from pipeline.core.stop import StopSwitch
from pipeline.dataset.offload import run_to_end
from pipeline.output.part_info import PartInfo
from pipeline.score_store.store import ScoreStore
from pipeline.storage.retries import Patience, insist

Result = TypeVar("Result")


async def write_patiently(
    work: Callable[[], Result], patience: Patience, stop_switch: StopSwitch
) -> Result:
    """Return what `work`, which writes, returns; run it in a thread, again if it fails.

    Raises:
        OutputFailed: if it failed for too long.
        RerankError: as the stop switch says, which ends the wait for another try.
    """

    async def sleep(wait_s: float) -> None:
        with stop_switch.interruptible():
            await asyncio.sleep(wait_s)

    return await insist(lambda: run_to_end(work), patience, sleep=sleep)


class Committer:
    """Commits the parts of an output, and its end, once the answers are saved.

    Args:
        store: Holds the answers.
        patience: How long to insist.
        stop_switch: Ends all waits.
    """

    def __init__(self, store: ScoreStore, patience: Patience, stop_switch: StopSwitch) -> None:
        self._store = store
        self._patience = patience
        self._stop_switch = stop_switch

    async def commit_part(self, publish: Callable[[], PartInfo]) -> PartInfo:
        """Publish a part; before it, save what an object store takes a second or two to save.

        Raises:
            OutputFailed: if that failed for too long; the part is then absent.
            RerankError: as the stop switch says.
        """
        if not self._store.is_local:
            await self._save_answers()
        return await write_patiently(publish, self._patience, self._stop_switch)

    async def commit_output(self, finish: Callable[[], None]) -> None:
        """Mark the output as finished, once every answer is saved.

        Raises:
            OutputFailed: if that failed for too long.
            RerankError: as the stop switch says.
        """
        await self._save_answers()
        await write_patiently(finish, self._patience, self._stop_switch)

    async def _save_answers(self) -> None:
        with self._stop_switch.interruptible():
            await self._store.flush()
