"""Numbers counted where they arise: requests, tokens, money, latencies, waits.

Every room that knows a number of a run adds to the run's `Metrics`. The use of the quota is counted
by the throttle, which several runs may share. The size of both is bounded: latencies go into a
histogram of fixed size, waits into one sum for each cause.
"""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Final

from msgspec import Struct, field

_FIRST_BUCKET_S: Final = 0.000_1
_BUCKETS_PER_DOUBLING: Final = 8
_NUM_BUCKETS: Final = 24 * _BUCKETS_PER_DOUBLING
"""From 0.1 ms to 28 minutes; neighbours differ by 9 %, which is how exact a quantile is."""

_MOSTLY: Final = 0.5


class LatencyHistogram(Struct):
    """Latencies in log-spaced buckets: a million of them take as much memory as ten."""

    counts: list[int] = field(default_factory=lambda: [0] * _NUM_BUCKETS)

    def add(self, latency_s: float) -> None:
        """Count one latency, in seconds."""
        place = math.log2(max(latency_s, _FIRST_BUCKET_S) / _FIRST_BUCKET_S)
        self.counts[min(int(place * _BUCKETS_PER_DOUBLING), _NUM_BUCKETS - 1)] += 1

    def merge(self, other: "LatencyHistogram") -> None:
        """Count the latencies of another histogram too."""
        self.counts = [
            mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)
        ]

    def copy(self) -> "LatencyHistogram":
        """Return the counts as they are now."""
        return LatencyHistogram(self.counts.copy())

    def since(self, earlier: "LatencyHistogram") -> "LatencyHistogram":
        """Return what was counted after a copy was taken."""
        return LatencyHistogram(
            [now - before for now, before in zip(self.counts, earlier.counts, strict=True)]
        )

    def buckets_ms(self) -> list[tuple[float, int]]:
        """Return the upper end of each bucket that is not empty, in milliseconds, and its count."""
        return [
            (
                round(1_000 * _FIRST_BUCKET_S * math.exp2((bucket + 1) / _BUCKETS_PER_DOUBLING), 2),
                count,
            )
            for bucket, count in enumerate(self.counts)
            if count
        ]

    def quantile_ms(self, share: float) -> float:
        """Return the `share` quantile of the latencies in milliseconds; 0 without any."""
        wanted, seen = share * sum(self.counts), 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return 1_000 * _FIRST_BUCKET_S * math.exp2((bucket + 0.5) / _BUCKETS_PER_DOUBLING)
        return 0.0


class Waits(Struct):
    """Seconds that requests waited, by cause; each second has one cause.

    Attributes:
        requests_s: For the rate of requests.
        tokens_s: For the rate of tokens.
        in_flight_s: For a place in flight: seconds for which all were taken.
        documents_in_flight_s: For room for the documents of the first request in the queue.
        pause_s: For the end of a pause that the service asked for.
    """

    requests_s: float = 0.0
    tokens_s: float = 0.0
    in_flight_s: float = 0.0
    documents_in_flight_s: float = 0.0
    pause_s: float = 0.0


class QuotaUse(Struct):
    """How a throttle used its quota, and what held it back.

    Attributes:
        waits: What requests waited for before they were sent.
        admitted_s: Seconds from the first admission to the last.
        requests_offered: Requests that the quota would have taken in that time.
        requests_used: Requests that it took.
        tokens_offered: Tokens that the quota would have taken in that time.
        tokens_used: Tokens that it took.
    """

    waits: Waits = field(default_factory=Waits)
    admitted_s: float = 0.0
    requests_offered: float = 0.0
    requests_used: float = 0.0
    tokens_offered: float = 0.0
    tokens_used: float = 0.0

    def since(self, earlier: "QuotaUse") -> "QuotaUse":
        """Return what was counted after a copy was taken."""
        waits = Waits(*_differences(self.waits, earlier.waits, Waits.__struct_fields__))
        return QuotaUse(waits, *_differences(self, earlier, QuotaUse.__struct_fields__[1:]))

    def copy(self) -> "QuotaUse":
        """Return the numbers as they are now."""
        return self.since(QuotaUse())

    @property
    def share(self) -> float | None:
        """Share of the configured quota that was used, of the limit nearest to it; None without."""
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
        """What held the requests back most: a limit, a `pause`, or `source` (too few came)."""
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


def _differences(later: Struct, earlier: Struct, names: Iterable[str]) -> list[float]:
    return [getattr(later, name) - getattr(earlier, name) for name in names]


class Metrics(Struct):
    """The numbers so far; counts unless the name says otherwise.

    Attributes:
        requests: Attempts that were sent, with whatever result; witnesses included.
        answered: Attempts that got their scores.
        failed: Attempts that got none, except those answered by 429.
        unanswered: Failed attempts that may be billed: the answer was lost, late or unusable.
        unanswered_usd: What they may cost: upper bounds at the model's price.
        retries: Further attempts after a failure; not those after a 429.
        throttled: Answers that asked for a slower pace (429).
        tokens: Tokens of the answered requests, as the service counted them.
        search_units: Their search units, of a vendor that bills these.
        cost_usd: Their price.
        latency: Seconds from sending an answered request to its scores.
        requests_reused: Requests that the score store answered.
        size_refusals: Requests that the service refused for their size.
        candidates_ranked: Candidates whose group was ranked.
        truncated_documents: Documents whose text was cut at the per-item limit.
        truncated_queries: Groups whose query was cut at the per-item limit.
        partial_groups: Groups that began with an answer that held some of their documents.
        documents_reused: Their documents that stood in it.
        saved_usd: What these groups would have cost as a whole, less what was asked.
        merge_status: Ranked groups by `MergeStatus`.
        reject_reasons: Candidates without a score by `Reason`.
    """

    requests: int = 0
    answered: int = 0
    failed: int = 0
    unanswered: int = 0
    unanswered_usd: float = 0.0
    retries: int = 0
    throttled: int = 0
    tokens: int = 0
    search_units: int = 0
    cost_usd: float = 0.0
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    requests_reused: int = 0
    size_refusals: int = 0
    candidates_ranked: int = 0
    truncated_documents: int = 0
    truncated_queries: int = 0
    partial_groups: int = 0
    documents_reused: int = 0
    saved_usd: float = 0.0
    merge_status: Counter[str] = field(default_factory=Counter)
    reject_reasons: Counter[str] = field(default_factory=Counter)

    def merge(self, other: "Metrics") -> None:
        """Count what another run did too."""
        for name in self.__struct_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            match mine:
                case LatencyHistogram():
                    mine.merge(theirs)
                case Counter():
                    mine.update(theirs)
                case _:
                    setattr(self, name, mine + theirs)

    @property
    def in_flight(self) -> int:
        """Attempts that wait for their answer."""
        return self.requests - self.answered - self.failed - self.throttled

    def latency_ms(self) -> dict[str, float]:
        """Return median and tail of the answered requests' latencies, in milliseconds."""
        return {
            name: round(self.latency.quantile_ms(share), 1)
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        }
