"""Counts of the requests that the emulator received, for rehearsals and tests."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jobs.emulator.sliding_window import Clock, SlidingWindow

_LONG_WINDOW_S = 10.0


class Stats:
    """Requests to the rerank endpoints since the start.

    Attributes:
        by_status: Requests by outcome: an HTTP status, `reset`, or `abandoned` by the client.
        documents: Documents of requests that were scored.
        total_tokens: Tokens of requests that were scored, as reported in their `usage`.
        search_units: Search units of them, where searches are billed.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = SlidingWindow(1.0)
        self._ten_seconds = SlidingWindow(_LONG_WINDOW_S)
        self.requests = 0
        self.by_status: Counter[str] = Counter()
        self.documents = 0
        self.total_tokens = 0
        self.search_units = 0
        self.in_flight = 0
        self.max_in_flight = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request, in flight while the body runs."""
        now = self._clock()
        self._second.add(now)
        self._ten_seconds.add(now)
        self.requests += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1

    def as_dict(self) -> dict[str, Any]:
        """Return every count by its name."""
        return {
            "requests": self.requests,
            "by_status": dict(self.by_status),
            "documents": self.documents,
            "total_tokens": self.total_tokens,
            "search_units": self.search_units,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "peak_requests_per_second": self._second.peak,
            "peak_requests_per_ten_seconds": self._ten_seconds.peak,
        }
