"""Ticks of a run: its numbers every few seconds, in a bounded number of samples.

A tick counts from the start of the run. The difference of two ticks is what happened between them,
so one in between can be dropped. Whenever there are too many, every second one is: a run of ten
hours takes as many bytes as one of four minutes, at a coarser resolution.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

MAX_TICKS: Final = 240
"""Most ticks in the record of one run; about 20 KB of JSON."""

EVERY_S: Final = 1.0
"""Seconds between two ticks at first."""

SHORTEST_S: Final = 0.1
"""Least seconds between two ticks, and before the first: a rate over less is meaningless."""

RECENT_S: Final = 10.0
"""How many seconds count as recent."""

_COUNTS: Final = (
    *("requests", "sent", "throttled", "failed", "reused", "tokens"),
    *("cost_usd", "candidates", "in_flight_s"),
)
_DIGITS: Final = {"cost_usd": 6, "in_flight_s": 1, "p95_ms": 1}


class Tick(Struct, frozen=True, kw_only=True):
    """The numbers of a run at one moment, counted from its start.

    Attributes:
        at_s: Seconds since the start.
        requests: Requests that got their scores.
        sent: Attempts, with whatever result.
        throttled: Attempts refused by 429.
        failed: Attempts that got no scores for another reason.
        reused: Answers that the score store had.
        tokens: Tokens of the answered requests.
        cost_usd: Their price.
        candidates: Candidates whose group was ranked.
        in_flight_s: Seconds that requests were in flight, all of them together.
        p95_ms: 95th percentile of the latencies since the tick before, the highest if ticks between
            were dropped; 0 if nothing was answered.
        bound_s: Seconds by what held the run back then: a name of `RunSummary.bound_by`, or why
            nothing at all could be sent: `outage` (the service is down), `storage` (what was paid
            cannot be saved), `cost` (the rest of the budget is reserved), `operator` (a pause by
            the pace file).
    """

    at_s: float
    requests: int = 0
    sent: int = 0
    throttled: int = 0
    failed: int = 0
    reused: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    candidates: int = 0
    in_flight_s: float = 0.0
    p95_ms: float = 0.0
    bound_s: Mapping[str, float] = field(default_factory=dict)


_START: Final = Tick(at_s=0.0)


class Stretch(Struct, frozen=True, kw_only=True):
    """What happened between two ticks; names as in `Tick`.

    Attributes:
        start_s: When it begins, in seconds since the start of the run.
        seconds: How long it is.
        in_flight: Requests in flight, on average.
    """

    start_s: float
    seconds: float
    requests: int
    sent: int
    throttled: int
    failed: int
    reused: int
    tokens: int
    cost_usd: float
    candidates: int
    in_flight: float
    p95_ms: float
    bound_s: Mapping[str, float]

    @property
    def requests_per_s(self) -> float:
        """Requests that got their scores, per second."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def bound_by(self) -> str:
        """What held the run back for most of the time; empty if nothing is known."""
        return max(self.bound_s, key=lambda cause: self.bound_s[cause], default="")


def side_by_side(stretches: Iterable[Stretch]) -> Stretch | None:
    """Return the sums over runs at the same time; None without any."""
    given = list(stretches)
    if not given:
        return None
    bound_s: Counter[str] = Counter()
    for stretch in given:
        bound_s.update(stretch.bound_s)
    names = ("requests", "sent", "throttled", "failed", "reused", "tokens", "cost_usd")
    sums = {name: sum(getattr(one, name) for one in given) for name in (*names, "candidates")}
    return Stretch(
        start_s=min(one.start_s for one in given),
        seconds=max(one.seconds for one in given),
        in_flight=sum(one.in_flight for one in given),
        p95_ms=max(one.p95_ms for one in given),
        bound_s=dict(bound_s),
        **sums,
    )


class Ticks(Struct, kw_only=True):
    """The ticks of one run, a list per column; names as in `Tick`.

    Raises:
        ValueError: if the lists are not of one length.
    """

    at_s: list[float] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    throttled: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    reused: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    cost_usd: list[float] = field(default_factory=list)
    candidates: list[int] = field(default_factory=list)
    in_flight_s: list[float] = field(default_factory=list)
    p95_ms: list[float] = field(default_factory=list)
    bound_s: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {len(column) for column in self._columns()}
        if len(lengths) > 1:
            raise ValueError(f"columns of different lengths: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.at_s)

    def add(self, tick: Tick, *, max_ticks: int = MAX_TICKS) -> None:
        """Add a later tick; drop every second one if there are then more than `max_ticks`.

        A tick less than `SHORTEST_S` after the last one replaces it.
        """
        tick = replace(tick, at_s=max(round(tick.at_s, 1), SHORTEST_S))
        if self.at_s and tick.at_s <= self.at_s[-1]:
            tick = replace(tick, at_s=self.at_s[-1], p95_ms=max(tick.p95_ms, self.p95_ms[-1]))
            for column in self._columns():
                column.pop()
        for cause in tick.bound_s:
            self.bound_s.setdefault(cause, [0.0] * len(self))
        for cause, seconds in self.bound_s.items():
            seconds.append(round(tick.bound_s.get(cause, 0.0), 1))
        for name in ("at_s", *_COUNTS, "p95_ms"):
            value = getattr(tick, name)
            digits = _DIGITS.get(name)
            getattr(self, name).append(value if digits is None else round(value, digits))
        if len(self) > max_ticks:
            self._halve()

    def drop_before(self, at_s: float) -> None:
        """Drop all ticks before the last one that is not after this moment."""
        num_dropped = max(sum(tick_s <= at_s for tick_s in self.at_s) - 1, 0)
        for column in self._columns():
            del column[:num_dropped]

    def tick(self, place: int) -> Tick:
        """Return one tick, by its place; the start of the run at -1."""
        if place < 0:
            return _START
        values = {name: getattr(self, name)[place] for name in ("at_s", *_COUNTS, "p95_ms")}
        bound_s = {cause: seconds[place] for cause, seconds in self.bound_s.items()}
        return Tick(bound_s=bound_s, **values)

    def stretches(self) -> Iterator[Stretch]:
        """Yield what happened from tick to tick, beginning at the start of the run."""
        for place in range(len(self)):
            yield self._between(place - 1, place)

    def recent(self, seconds: float = RECENT_S) -> Stretch | None:
        """Return what happened in about the last so many seconds; None without a tick."""
        if not self:
            return None
        last = len(self) - 1
        first = last - 1
        while first >= 0 and self.at_s[last] - self.at_s[first] < seconds:
            first -= 1
        return self._between(first, last)

    def total(self) -> Stretch | None:
        """Return what happened from the start to the last tick; None without a tick."""
        return self._between(-1, len(self) - 1) if self else None

    def coarser(self, max_ticks: int) -> "Ticks":
        """Return at most so many of the ticks, the last one among them."""
        columns = {name: list(getattr(self, name)) for name in ("at_s", *_COUNTS, "p95_ms")}
        bound_s = {cause: list(seconds) for cause, seconds in self.bound_s.items()}
        fewer = Ticks(bound_s=bound_s, **columns)
        while len(fewer) > max(max_ticks, 1):
            fewer._halve()
        return fewer

    def _between(self, first: int, last: int) -> Stretch:
        before, after = self.tick(first), self.tick(last)
        seconds = after.at_s - before.at_s
        counts = {name: getattr(after, name) - getattr(before, name) for name in _COUNTS}
        in_flight_s = counts.pop("in_flight_s")
        bound_s = {
            cause: value - before.bound_s.get(cause, 0.0) for cause, value in after.bound_s.items()
        }
        return Stretch(
            start_s=before.at_s,
            seconds=seconds,
            in_flight=in_flight_s / seconds if seconds else 0.0,
            p95_ms=max(self.p95_ms[first + 1 : last + 1]),
            bound_s={cause: value for cause, value in bound_s.items() if value > 0},
            **counts,
        )

    def _columns(self) -> Iterator[list[float] | list[int]]:
        for name in ("at_s", *_COUNTS, "p95_ms"):
            yield getattr(self, name)
        yield from self.bound_s.values()

    def _halve(self) -> None:
        """Drop every second tick; keep the last one."""
        kept = slice((len(self) - 1) % 2, None, 2)
        tallest = [max(self.p95_ms[max(at - 1, 0) : at + 1]) for at in range(len(self))]
        self.p95_ms[:] = tallest
        for column in self._columns():
            column[:] = column[kept]  # type: ignore[assignment]
