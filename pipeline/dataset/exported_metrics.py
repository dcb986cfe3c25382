"""The numbers of a run that monitoring systems get, each with its name, kind and unit.

One table serves OpenTelemetry (`rerank.requests`) and Prometheus (`rerank_requests_total`), so a
dashboard reads the same whatever carries the numbers.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from pipeline.dataset.summary import RunSummary

Values: TypeAlias = float | Mapping[str, float] | None
"""A number, a number for each value of the label, or None while it is not known."""

_STATES: Final = ("running", "interrupted", "failed", "partial", "done")


class ExportedMetric(Struct, frozen=True, kw_only=True):
    """One metric.

    Attributes:
        name: Lower case, words joined by `_`.
        kind: `counter` only rises during a run; `gauge` is a present value.
        unit: As UCUM writes it, for OpenTelemetry.
        suffix: The unit in a Prometheus name, before `_total`.
        label: The label that distinguishes its values; empty for one value.
        help: What it measures.
        read: Returns its value.
    """

    name: str
    kind: Literal["counter", "gauge"]
    unit: str
    help: str
    read: Callable[[RunSummary], Values]
    suffix: str = ""
    label: str = ""

    @property
    def otel_name(self) -> str:
        """Return its name in OpenTelemetry."""
        return f"rerank.{self.name}"

    @property
    def prometheus_name(self) -> str:
        """Return its name in Prometheus: with its unit, counters with `_total`."""
        total = "_total" if self.kind == "counter" else ""
        return f"rerank_{self.name}{self.suffix}{total}"


def _state(now: RunSummary) -> Values:
    return {state: float(now.state == state) for state in _STATES}


def _recent(figure: Literal["in_flight", "requests_per_s"]) -> Callable[[RunSummary], Values]:
    return lambda now: 0.0 if now.recent is None else getattr(now.recent, figure)


def _latency(now: RunSummary) -> Values:
    return {
        f"{int(name[1:]) / 100:g}": milliseconds / 1_000
        for name, milliseconds in now.latency_ms.items()
    }


def _count(name: str, unit: str, text: str, read: Callable[[RunSummary], Values]) -> ExportedMetric:
    return ExportedMetric(name=name, kind="counter", unit=f"{{{unit}}}", help=text, read=read)


def _now(name: str, unit: str, text: str, read: Callable[[RunSummary], Values]) -> ExportedMetric:
    return ExportedMetric(name=name, kind="gauge", unit=f"{{{unit}}}", help=text, read=read)


METRICS: Final = (
    ExportedMetric(
        name="state",
        kind="gauge",
        unit="1",
        label="state",
        help="1 for the state of the run, 0 for the others.",
        read=_state,
    ),
    _now("groups", "query", "Queries of the input.", lambda now: now.groups),
    _now("groups_done", "query", "Queries that are written.", lambda now: now.groups_done),
    _now("candidates", "candidate", "Candidates of the input.", lambda now: now.candidates),
    _now("candidates_done", "candidate", "Candidates ranked.", lambda now: now.candidates_done),
    _now("parts_done", "part", "Parts that are written.", lambda now: now.parts_done),
    _now("rejected", "candidate", "Candidates written without a score.", lambda now: now.rejected),
    _now("skipped", "candidate", "Candidates with nothing to score.", lambda now: now.skipped),
    _count("requests", "request", "Requests that got their scores.", lambda now: now.requests),
    _count("requests_sent", "request", "Attempts of any end.", lambda now: now.requests_sent),
    _count("requests_failed", "request", "Attempts failed.", lambda now: now.requests_failed),
    _count(
        "requests_reused", "request", "Answers from the store.", lambda now: now.requests_reused
    ),
    _count("throttled", "request", "Attempts refused by 429.", lambda now: now.throttled),
    _count("retries", "request", "Further attempts after failures.", lambda now: now.retries),
    _count("tokens", "token", "Tokens of the paid answers.", lambda now: now.total_tokens),
    ExportedMetric(
        name="cost",
        kind="counter",
        unit="{USD}",
        suffix="_usd",
        help="Price of these tokens in US dollars.",
        read=lambda now: now.cost_usd,
    ),
    _now("in_flight", "request", "Requests in flight, over ten seconds.", _recent("in_flight")),
    _now(
        "requests_per_second",
        "request",
        "Requests answered in a second, over ten seconds.",
        _recent("requests_per_s"),
    ),
    ExportedMetric(
        name="latency",
        kind="gauge",
        unit="s",
        suffix="_seconds",
        label="quantile",
        help="Latency of the answered requests, by quantile.",
        read=_latency,
    ),
    ExportedMetric(
        name="held_back",
        kind="counter",
        unit="s",
        suffix="_seconds",
        label="cause",
        help="Seconds by what held the run back.",
        read=lambda now: now.bound_s,
    ),
    ExportedMetric(
        name="outage",
        kind="gauge",
        unit="s",
        suffix="_seconds",
        help="For how long the service has been down.",
        read=lambda now: now.outage_s,
    ),
    ExportedMetric(
        name="quota_used",
        kind="gauge",
        unit="1",
        suffix="_ratio",
        help="Share of the quota that was used while there was work.",
        read=lambda now: now.quota_used,
    ),
)
