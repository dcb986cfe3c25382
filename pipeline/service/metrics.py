"""What a run did, in plain numbers: requests, tokens, money, latencies, and what it waited for.

Memory is bounded: latencies go into a histogram of fixed size, waits into one sum for each cause.
"""

import math

from msgspec import Struct, field

_FIRST_BUCKET_S = 0.000_1
_BUCKETS_PER_DOUBLING = 8
_NUM_BUCKETS = 24 * _BUCKETS_PER_DOUBLING
"""From 0.1 ms to 28 minutes; neighbours differ by 9 %, which is how exact a quantile is."""

_MOSTLY = 0.5


class LatencyHistogram(Struct):
    """Latencies in log-spaced buckets, so that a million of them take as much room as ten."""

    counts: list[int] = field(default_factory=lambda: [0] * _NUM_BUCKETS)

    def add(self, latency_s: float) -> None:
        """Count one latency, in seconds."""
        place = math.log2(max(latency_s, _FIRST_BUCKET_S) / _FIRST_BUCKET_S)
        self.counts[min(int(place * _BUCKETS_PER_DOUBLING), _NUM_BUCKETS - 1)] += 1

    def quantile_ms(self, share: float) -> float:
        """The latency in milliseconds that `share` of all do not exceed; 0 if there are none."""
        wanted, seen = share * sum(self.counts), 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return 1_000 * _FIRST_BUCKET_S * math.exp2((bucket + 0.5) / _BUCKETS_PER_DOUBLING)
        return 0.0


class Waits(Struct):
    """Seconds by what was waited for; never two causes at once.

    Of `in_flight_s` it is the seconds for which every slot was taken, else those for which the
    first request in line waited.
    """

    requests_s: float = 0.0
    tokens_s: float = 0.0
    in_flight_s: float = 0.0
    documents_in_flight_s: float = 0.0
    pause_s: float = 0.0


class Metrics(Struct):
    """What the client and the throttle did so far.

    Attributes:
        requests: Attempts that were sent, whatever came of them.
        answered: Requests that got their scores.
        retries: Further attempts after a failure; those after a 429 are not among them.
        throttled: Answers that asked for a slower pace (429).
        tokens: Tokens of the answered requests, as the service counted them.
        cost_usd: Their price.
        admitted_s: Seconds from the first admission to the last.
        requests_offered: Requests that the quota would have taken in that time.
        requests_used: Requests that it took.
        tokens_offered: Tokens that the quota would have taken in that time.
        tokens_used: Tokens that it took.
    """

    requests: int = 0
    answered: int = 0
    retries: int = 0
    throttled: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    waits: Waits = field(default_factory=Waits)
    admitted_s: float = 0.0
    requests_offered: float = 0.0
    requests_used: float = 0.0
    tokens_offered: float = 0.0
    tokens_used: float = 0.0

    @property
    def quota_used(self) -> float | None:
        """Share of the told quota that was used, of the limit nearest to it; None if untold."""
        shares = [
            used / offered
            for used, offered in (
                (self.requests_used, self.requests_offered),
                (self.tokens_used, self.tokens_offered),
            )
            if offered > 0
        ]
        return min(max(shares), 1.0) if shares else None

    @property
    def bound_by(self) -> str:
        """What held the run back most: a limit, a `pause`, or `source` (too little work came)."""
        waits = {
            "requests_per_minute": self.waits.requests_s,
            "tokens_per_minute": self.waits.tokens_s,
            "max_in_flight": self.waits.in_flight_s,
            "max_documents_in_flight": self.waits.documents_in_flight_s,
            "pause": self.waits.pause_s,
        }
        if sum(waits.values()) < _MOSTLY * self.admitted_s or not self.admitted_s:
            return "source"
        return max(waits, key=lambda cause: waits[cause])

    def latency_ms(self) -> dict[str, float]:
        """Median and tail of the answered requests' latencies, in milliseconds."""
        return {
            name: round(self.latency.quantile_ms(share), 1)
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        }
