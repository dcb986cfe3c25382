"""Faults by name, and the plan of which request gets which.

Faults for a share of requests are drawn from the seed, the request's content, and the number of
attempts at that content since it last succeeded. So equal seeds give equal faults at any
concurrency, and each attempt is a new draw.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import nan
from typing import Any, Self

from xxhash import xxh3_64_intdigest

from jobs.emulator import refusals
from jobs.emulator.refusals import Refusal
from pipeline.core.errors import SettingsError

POISON_MARKER = "poison-pill"

Results = list[dict[str, Any]]

REFUSALS: dict[str, Callable[[], Refusal]] = {
    "500": lambda: Refusal(500, "InternalError", "An internal error has occurred."),
    "503": lambda: Refusal(503, "ModelUnavailable", "Model is unavailable, please try later."),
    "429-rate": refusals.too_many_requests,
    "429-burst": lambda: Refusal(
        429, "Throttling.BurstRate", "Request rate increased too quickly."
    ),
    "429-tokens": refusals.too_many_tokens_per_minute,
    "429-free-quota": lambda: Refusal(
        429, "Throttling.AllocationQuota", "Free allocated quota exceeded."
    ),
    "arrearage": lambda: Refusal(400, "Arrearage", "Access denied, the account is overdue."),
    "access-denied": lambda: Refusal(403, "AccessDenied", "Access denied."),
    "poison": lambda: Refusal(
        400, "DataInspectionFailed", "Input data may contain inappropriate content."
    ),
    "error-in-200": lambda: Refusal(200, "InternalError", "An internal error has occurred."),
    "megabyte-error": lambda: Refusal(500, "InternalError", "overflow " * 120_000),
}
"""Faults that answer with a refusal in the endpoint's envelope."""

ANSWERS: dict[str, Callable[[Results], Results]] = {
    "missing-index": lambda results: results[:-1],
    "repeated-index": lambda results: [*(results[:-1] or results), results[0]],
    "out-of-range-index": lambda results: [*results[:-1], {**results[-1], "index": 1_000_000}],
    "nan": lambda results: [{**results[0], "relevance_score": nan}, *results[1:]],
    "null-score": lambda results: [{**results[0], "relevance_score": None}, *results[1:]],
    "empty-results": lambda results: [],
}
"""Faults of a well-formed answer: each maps its results, best first, to invalid ones."""

HTML = {"502-html": 502, "html-in-200": 200}
"""Faults that answer with a gateway's HTML page, and its status."""

CONNECTION = ("reset-before", "reset-during", "hang", "truncated-json")
"""Faults of the connection, or of the bytes sent over it."""

NAMES = (*REFUSALS, *ANSWERS, *HTML, *CONNECTION)
_TRANSIENT = ("500", "503", "reset-before", "reset-during")


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault for a share of requests, or for one request alone.

    Attributes:
        name: One of `NAMES`.
        rate: Share of requests, from 0 to 1.
        at: The number of the one request, counted from 1; None for a share of all.
    """

    name: str
    rate: float = 1.0
    at: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `NAME`, `NAME=RATE` or `NAME@K`.

        Raises:
            SettingsError: for an unknown name, or a rate or number out of range.
        """
        try:
            name, _, at = text.partition("@")
            name, _, rate = name.partition("=")
            fault = cls(name, float(rate or 1), int(at) if at else None)
            is_counted = fault.at is None or fault.at > 0
            is_legal = name in NAMES and 0 <= fault.rate <= 1 and is_counted
        except ValueError:
            is_legal = False
        if not is_legal:
            raise SettingsError(
                "unknown fault",
                which="--fault",
                found=text,
                expected=f"NAME, NAME=RATE (0 to 1) or NAME@K (from 1), NAME of {' '.join(NAMES)}",
            )
        return fault


class FaultPlan:
    """Decides which fault each request gets.

    Only the attempts at contents that have not succeeded yet are kept.
    """

    def __init__(self, faults: Iterable[Fault], fail_rate: float, seed: int) -> None:
        self._faults = tuple(faults)
        self._fail_rate = fail_rate
        self._seed = seed
        self._num_requests = 0
        self._attempts: Counter[int] = Counter()

    def draw(self, content: int, *, is_poisoned: bool) -> str | None:
        """Return the fault of the next attempt at `content`, the first that applies, or None."""
        self._num_requests += 1
        self._attempts[content] += 1
        for fault in self._faults:
            if fault.name == "poison" and not is_poisoned:
                continue
            if fault.at == self._num_requests or (
                fault.at is None and self._share(fault.name, content) < fault.rate
            ):
                return fault.name
        share = self._share("fail-rate", content)
        if share < self._fail_rate:
            return _TRANSIENT[int(share / self._fail_rate * len(_TRANSIENT))]
        return None

    def forget(self, content: int) -> None:
        """Restart the count of attempts at a content that succeeded."""
        del self._attempts[content]

    def _share(self, label: str, content: int) -> float:
        """Return a number in [0, 1) that depends on seed, label, content and attempt alone."""
        key = f"{self._seed} {label} {content} {self._attempts[content]}"
        return xxh3_64_intdigest(key.encode()) / 2**64
