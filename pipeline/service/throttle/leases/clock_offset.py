"""Estimate how far another machine's clock is ahead of ours, from the delays of answers."""

from collections import deque

_SAMPLES = 16


class ClockOffset:
    """The difference of two clocks, by the quickest of the last answers (Cristian, 1989).

    Only differences of either clock count, so neither has to show the time of day.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque(maxlen=_SAMPLES)
        self._offset = 0.0

    def add(self, sent: float, received: float, theirs: float) -> None:
        """Learn from an answer.

        Args:
            sent: When it was asked for, by our clock.
            received: When it arrived, by our clock.
            theirs: When it was given, by theirs.
        """
        self._samples.append((received - sent, theirs - (sent + received) / 2))
        self._offset = min(self._samples)[1]

    def ours(self, theirs: float) -> float:
        """Convert a moment from their clock to ours."""
        return theirs - self._offset
