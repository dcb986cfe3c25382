"""The interface of a leaser for a taker."""

from types import TracebackType
from typing import Protocol, Self

from pipeline.service.throttle.leases.messages import Ask, Grant


class LeaserLost(Exception):
    """The leaser cannot be reached, or its answer is not understood; says why, in one line."""


class Leaser(Protocol):
    """Gives slots of one quota; an async context manager that holds the connections."""

    @property
    def name(self) -> str:
        """Its address, without a password."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    async def ask(self, ask: Ask) -> Grant:
        """Return the leaser's answer.

        Raises:
            LeaserLost: if there is none.
            SettingsError: if the leaser refuses this taker for good.
        """
        ...
