"""Compose the progress of a run as one line that fits; the least important is left out first.

312/900 queries 34 % ━━━━ 7.5 req/s of 90 · $0.05 of $0.18 · 1:41 left · limited by quota
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from jobs.console.printing import num
from jobs.console.terminal_line import Signs
from pipeline.core.settings import Pace

if TYPE_CHECKING:
    from pipeline.dataset.summary import RunSummary

LIMITED_BY: Final = {
    "requests_per_minute": "limited by quota",
    "tokens_per_minute": "limited by token quota",
    "max_in_flight": "limited by --max-in-flight",
    "max_documents_in_flight": "limited by --max-documents-in-flight",
    "pause": "limited by the service",
    "cpu": "limited by CPU",
    "source": "limited by input",
    "cost": "limited by cost",
    "storage": "waiting for storage",
    "operator": "paused by _pace.json",
}
"""Short descriptions of the values of `RunSummary.recent.bound_by`."""

Part = Literal[
    "quota", "expected", "retries", "limit", "bar", "rate", "noun", "cost", "left", "count"
]
_LEAST_FIRST: Final[tuple[Part, ...]] = (
    *("quota", "expected", "retries", "limit", "bar"),
    *("rate", "noun", "cost", "left", "count"),
)
"""The items to leave out, in this order, until the line fits."""

_SHORTEST_BAR, _LONGEST_BAR = 4, 40


class View(Struct, frozen=True, kw_only=True):
    """The contents of the line.

    Attributes:
        now: The numbers of the run.
        done: How many are done, of `total`.
        total: How many there are; None while it is not known.
        noun: The noun for these, in the plural.
        share: Share of the work that is done, from 0 to 1; None while it is not known.
        pace: The present limits of the run.
        seconds_left: Estimated seconds left; None while they are not known.
        is_stopping: The run was asked to stop.
    """

    now: "RunSummary"
    done: int
    total: int | None
    noun: str
    share: float | None
    pace: Pace
    seconds_left: float | None = None
    is_stopping: bool = False

    @property
    def percent(self) -> float | None:
        """The share in percent, rounded down: 100 is reached only at the end."""
        return None if self.share is None else int(1_000 * self.share) / 10

    @property
    def expected_usd(self) -> float | None:
        """The expected cost of this run, if the rest costs as much as the part done."""
        now = self.now
        if not (now.cost_usd and now.candidates_ranked and now.candidates):
            return None
        return now.cost_usd * (now.candidates - now.candidates_finished) / now.candidates_ranked

    @property
    def limit(self) -> str:
        """The limit that holds the run back, or why it stands still."""
        now = self.now
        if self.is_stopping:
            waiting = now.requests_sent - now.requests - now.requests_failed - now.throttled
            return f"stopping, {num(waiting, 'answer')} to come, Ctrl-C again exits at once"
        if now.outage_s:
            return f"service down since {down_since(now):%H:%M:%S}"
        return LIMITED_BY.get(now.recent.bound_by, "") if now.recent else ""

    @property
    def is_held(self) -> bool:
        """Whether nothing is sent until something changes."""
        cause = self.now.recent.bound_by if self.now.recent else ""
        is_held = cause in ("storage", "operator", "outage")
        return self.is_stopping or self.now.outage_s > 0 or is_held


class Line(Struct, frozen=True):
    """A line in pieces, of which the bar may be painted.

    Attributes:
        before: The text before the bar.
        done: The part of the bar that stands for what is done.
        left: The rest of the bar.
        after: The text after it.
    """

    before: str
    done: str
    left: str
    after: str

    def __str__(self) -> str:
        return self.before + self.done + self.left + self.after

    @classmethod
    def of(
        cls, before: str, share: float, facts: Sequence[str], columns: int, signs: Signs
    ) -> "Line":
        """Return a line with a bar that fills what is free, even if it is longer than fits."""
        after = " " * bool(facts) + signs.between.join(facts)
        free = columns - len(before) - 1 - len(after)
        cells = max(_SHORTEST_BAR, min(free, _LONGEST_BAR))
        num_done = int(cells * share)
        return cls(f"{before} ", signs.done * num_done, signs.left * (cells - num_done), after)


def compose(view: View, columns: int, signs: Signs) -> Line:
    """Return the line, as long as fits, with a bar that fills what is free."""
    order = list(_LEAST_FIRST)
    if view.is_held or view.now.state != "running":
        order.remove("limit")
        order.append("limit")
    line = Line("", "", "", "")
    for num_omitted in range(len(order) + 1):
        line = _build(view, frozenset(order[:num_omitted]), columns, signs)
        if len(str(line)) <= columns:
            return line
    return Line(line.before[:columns], "", "", "")


def down_since(now: "RunSummary") -> datetime:
    """Return the local time at which the service went down."""
    return datetime.now().astimezone() - timedelta(seconds=now.outage_s)


def duration(seconds: float) -> str:
    """Return a time as 1:41 or 2:03:10."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _build(view: View, omitted: frozenset[Part], columns: int, signs: Signs) -> Line:
    before, facts = _count(view, omitted), list(_facts(view, omitted))
    if view.share is None or "bar" in omitted:
        return Line(signs.between.join([before, *facts]), "", "", "")
    return Line.of(before, view.share, facts, columns, signs)


def _count(view: View, omitted: frozenset[Part]) -> str:
    words = []
    if "count" not in omitted or view.percent is None:
        words.append(f"{view.done:,}" + ("" if view.total is None else f"/{view.total:,}"))
        if "noun" not in omitted:
            words.append(view.noun)
    if view.percent is not None:
        words.append(f"{int(view.percent)} %")
    return " ".join(words)


def _facts(view: View, omitted: frozenset[Part]) -> Iterator[str]:
    now = view.now
    is_running = now.state == "running"
    if is_running and now.recent and "rate" not in omitted:
        quota = view.pace.requests_per_minute
        of = f" of {_rate(quota / 60)}" if quota and "quota" not in omitted else ""
        yield f"{_rate(now.recent.requests_per_s)} req/s{of}"
    if now.cost_usd and "cost" not in omitted:
        expected = view.expected_usd if is_running and "expected" not in omitted else None
        yield _cost(now.cost_usd, expected)
    if (retries := now.retries + now.throttled) and "retries" not in omitted:
        yield num(retries, "retry", "retries")
    if not is_running:
        yield f"{now.state} in {duration(now.seconds)}"
    elif view.seconds_left is not None and not view.is_held and "left" not in omitted:
        yield f"{duration(view.seconds_left)} left"
    if is_running and view.limit and "limit" not in omitted:
        yield view.limit


def _rate(per_s: float) -> str:
    """Return a rate with a decimal below 20, if it has one."""
    return f"{per_s:,.1f}".removesuffix(".0") if per_s < 20 else f"{per_s:,.0f}"


def _cost(paid: float, expected: float | None) -> str:
    """Return amounts in cents, or with four decimals where less than a cent is paid."""
    digits = 2 if paid >= 0.01 else 4
    return f"${paid:,.{digits}f}" + (f" of ${expected:,.{digits}f}" if expected else "")
