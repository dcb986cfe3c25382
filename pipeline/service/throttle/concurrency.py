"""How many requests and documents may be in flight.

The window starts small and grows by one with each answer, so it doubles with each round trip: a
service that is just starting gets no wave of connections, and a quick one loses nothing.
"""

from typing import Final

_FIRST_WINDOW: Final = 16
_CUT: Final = 0.7
_BINDING_SHARE: Final = 0.5
"""A window does not bind while a smaller share of it is in use."""


class ConcurrencyWindow:
    """Bound requests and documents in flight; for one waiter at a time.

    Attributes:
        max_in_flight: Requests that may be in flight, once the window is that wide.
        in_flight: Requests in flight.
        documents: Documents in those requests.
        version: Changes with each cut of the window.
    """

    def __init__(self, max_in_flight: int, max_documents: int | None) -> None:
        self.in_flight = 0
        self.documents = 0
        self.version = 0
        self.max_in_flight = max_in_flight
        self._max_documents = max_documents
        self._window = float(min(_FIRST_WINDOW, max_in_flight))
        self._is_starting = True
        self._binds = False

    @property
    def room(self) -> int:
        """How many more requests may be in flight."""
        return max(max(1, int(self._window)) - self.in_flight, 0)

    def set_limits(self, max_in_flight: int, max_documents: int | None) -> None:
        """Change the bounds; what is in flight stays. A higher bound opens the window anew."""
        if max_in_flight > self.max_in_flight:
            self._window = max(self._window, float(_FIRST_WINDOW))
        self.max_in_flight, self._max_documents = max_in_flight, max_documents
        self._window = min(self._window, float(max_in_flight))

    def has_room(self) -> bool:
        """Return whether one more request may be in flight."""
        has_room = self.in_flight < max(1, int(self._window))
        if not has_room:
            self._binds = True
        return has_room

    def has_room_for_documents(self, documents: int) -> bool:
        """Return whether so many more documents may be in flight; any number may go alone."""
        if self._max_documents is None or not self.in_flight:
            return True
        return self.documents + documents <= self._max_documents

    def acquire(self, documents: int) -> None:
        """Count a request as in flight."""
        if self.in_flight < _BINDING_SHARE * self._window:
            self._binds = False
        self.in_flight += 1
        self.documents += documents

    def release(self, documents: int) -> None:
        """Count a request as no longer in flight."""
        self.in_flight -= 1
        self.documents -= documents

    def grow(self) -> None:
        """Widen the window after an answer, if the window is what binds."""
        if self._binds and self._window < self.max_in_flight:
            step = 1.0 if self._is_starting else 1.0 / self._window
            self._window = min(self._window + step, float(self.max_in_flight))

    def cut(self, version: int) -> bool:
        """Narrow the window, once for each overload of the service; return whether it narrowed.

        Args:
            version: Of the window that admitted the refused request.
        """
        if version != self.version:
            return False
        self.version += 1
        self._is_starting = False
        self._window = max(1.0, min(self._window, float(self.in_flight)) * _CUT)
        return True
