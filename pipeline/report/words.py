"""Figures and names in words, for the page."""

from typing import Final

CAUSES: Final = {
    "requests_per_minute": "quota of requests",
    "tokens_per_minute": "quota of tokens",
    "max_in_flight": "concurrency",
    "max_documents_in_flight": "documents in flight",
    "pause": "pause of the service",
    "cpu": "CPU of the job",
    "source": "input",
    "outage": "service down",
    "storage": "storage",
    "cost": "cost limit",
    "operator": "paused by hand",
}
"""Causes that held a run back, by their names in the record."""

STATES: Final = {
    "running": "is running",
    "interrupted": "was interrupted",
    "failed": "failed",
    "partial": "finished with too many rejects",
    "done": "is done",
}
"""Descriptions of an output, by its state."""

_MINUTE, _HOUR = 60.0, 3_600.0


def short_time(seconds: float) -> str:
    """Return a duration with two units at most: `45 ms`, `12.3 s`, `5 min 3 s`, `3 h 20 min`."""
    if seconds < 1:
        return f"{1_000 * seconds:,.0f} ms"
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min {seconds % _MINUTE:.0f} s"
    return f"{seconds // _HOUR:,.0f} h {seconds % _HOUR // _MINUTE:.0f} min"


def count(value: float) -> str:
    """Return a whole number with separators."""
    return f"{value:,.0f}"


def number(value: float) -> str:
    """Return a number with separators; small ones with four digits."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.4g}"


def usd(value: float) -> str:
    """Return an amount of money: cents from 100 dollars on, below with four decimals."""
    return f"${value:,.2f}" if value >= 100 else f"${value:,.4f}"


def percent(share: float | None) -> str:
    """Return a share in percent; a dash for None."""
    return "–" if share is None else f"{share:.1%}"


def figure(value: float | None, *, signed: bool = False) -> str:
    """Return a measure with four decimals; a dash for None."""
    return "–" if value is None else f"{value:+.4f}" if signed else f"{value:.4f}"


def size(size_bytes: int) -> str:
    """Return a size in KB or MB."""
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:,.0f} KB"


def shorten(text: str, most: int) -> str:
    """Return the text; if it is longer, its beginning with an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
