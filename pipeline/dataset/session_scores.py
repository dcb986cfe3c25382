"""The score stores of a session: one that all runs share, or one for each output."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from pipeline.core.errors import OutputFailed
from pipeline.core.events import log_event
from pipeline.core.settings import RunSettings
from pipeline.dataset.cached_scorer import SharedScores
from pipeline.output.layout import SCORES_FOLDER
from pipeline.output.validation import locate_output
from pipeline.score_store.store import ScoreStore
from pipeline.storage.location import Location
from pipeline.storage.retries import Patience

log = logging.getLogger(__name__)


class SessionScores:
    """Open score stores, and count what they could not save.

    Args:
        settings: Name the store that all runs share, if there is one.
        patience: How long to retry on a store that cannot be written.

    Raises:
        SettingsError: for an address that no file system understands.
    """

    def __init__(self, settings: RunSettings, patience: Patience) -> None:
        self._keeps_documents = settings.reuse == "partial"
        self._patience = patience
        name = settings.score_store
        self._folder = locate_output("--score-store", name) if name else None
        self._shared: SharedScores | None = None
        self._stores: list[ScoreStore] = []

    @property
    def num_unsaved(self) -> int:
        """Paid answers that are in no store yet, or are lost since they could not be saved."""
        return sum(store.num_unsaved for store in self._stores)

    async def open(self, resources: AsyncExitStack) -> None:
        """Open the store that all runs share, if there is one; `resources` closes it.

        Raises:
            SettingsError: if it cannot be written.
            OutputFailed: if it cannot be read.
        """
        if self._folder is not None:
            self._shared = await resources.enter_async_context(self._open(self._folder))

    @asynccontextmanager
    async def of_output(self, output: Location) -> AsyncIterator[SharedScores]:
        """Yield the store for the run on an output; its answers are saved when the body ends.

        Raises:
            OutputFailed: if the store cannot be read or written.
        """
        if self._shared is None:
            async with self._open(output.child(SCORES_FOLDER)) as scores:
                yield scores
            return
        try:
            yield self._shared
        except BaseException:  # raised again; what is paid is saved first
            with suppress(OutputFailed):  # tried again until the session ends
                await self._shared.store.flush(insist=False)
            raise
        await self._shared.store.flush()

    @asynccontextmanager
    async def _open(self, folder: Location) -> AsyncIterator[SharedScores]:
        """Yield the store in a folder, which is compacted at the end if all went well."""
        store = ScoreStore(folder, keeps_documents=self._keeps_documents, patience=self._patience)
        try:
            async with store:
                self._stores.append(store)
                yield SharedScores(store)
                try:
                    await store.compact()
                except OutputFailed as failure:  # nothing is lost, and the next run tries again
                    log_event(log, logging.WARNING, "score_store.not_compacted", error=str(failure))
        finally:
            # What a store could not save until it was closed is lost, and stays counted.
            self._stores = [one for one in self._stores if one is not store or one.num_unsaved]
