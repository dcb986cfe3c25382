"""What was sent within a window of time."""

from collections import deque
from collections.abc import Sequence


def most_in_a_window(times: Sequence[float], amounts: Sequence[float], period_s: float) -> float:
    """Return the largest sum of amounts within any half-open window of `period_s`.

    Args:
        times: In seconds, in order.
        amounts: What was sent at each time.
        period_s: Length of the window.
    """
    most = total = 0.0
    window: deque[tuple[float, float]] = deque()
    for time, amount in zip(times, amounts, strict=True):
        window.append((time, amount))
        total += amount
        while window[0][0] <= time - period_s:
            total -= window.popleft()[1]
        most = max(most, total)
    return most
