"""OpenTelemetry: spans and metrics of runs, parts and requests, through its API alone.

Import OpenTelemetry only where it is used: create a `Telemetry` where an SDK is configured.

Requests follow the semantic conventions for HTTP client spans and metrics, which are stable:
opentelemetry.io/docs/specs/semconv/http/http-spans and .../http-metrics, read 2026-11 (version
1.4x). A span of kind CLIENT is named by the method, since the path of an address may be anything;
`http.request.method`, `server.address`, `server.port` and `url.full` are required, as is
`http.response.status_code` if there was an answer and `error.type` if it failed, and 4xx and 5xx
are errors of a client. `http.client.request.duration` is a histogram in seconds with these
boundaries.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from yarl import URL

from pipeline.core.errors import RequestError, RerankError
from pipeline.core.records import Request, Scores
from pipeline.service.transport import Transport

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter, MeterProvider
    from opentelemetry.trace import Span, Tracer, TracerProvider

SCOPE: Final = "rerank-pipeline"
DURATION_BOUNDARIES_S: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
_OK: Final = 200


class Telemetry:
    """Where spans and metrics go.

    Args:
        tracer: Starts spans.
        meter: Makes instruments.
    """

    def __init__(self, tracer: "Tracer", meter: "Meter") -> None:
        self.tracer = tracer
        self.meter = meter

    @classmethod
    def of(cls, tracers: "TracerProvider", meters: "MeterProvider") -> Self:
        """Return the telemetry that sends to these providers."""
        return cls(tracers.get_tracer(SCOPE), meters.get_meter(SCOPE))

    @contextmanager
    def span(self, name: str, attributes: dict[str, Any]) -> "Iterator[Span]":
        """Run the body in a span of this name; an error that it raises is of the span, too."""
        from opentelemetry.trace import Status, StatusCode

        with self.tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                # Messages of ours hold no text and no key; those of others may.
                description = str(error) if isinstance(error, RerankError) else type(error).__name__
                span.set_status(Status(StatusCode.ERROR, description))
                raise


def telemetry_in_use() -> Telemetry | None:
    """Return telemetry to the process's providers; None unless an SDK has set one up."""
    sdk = [sys.modules.get(f"opentelemetry.sdk.{name}") for name in ("trace", "metrics")]
    if not any(sdk):
        return None
    from opentelemetry import metrics, trace

    tracers, meters = trace.get_tracer_provider(), metrics.get_meter_provider()
    kinds = ("TracerProvider", "MeterProvider")
    for module, kind, provider in zip(sdk, kinds, (tracers, meters), strict=True):
        if module is not None and isinstance(provider, getattr(module, kind)):
            return Telemetry.of(tracers, meters)
    return None


class TracedTransport:
    """A transport that makes a span and a measurement of each request.

    Args:
        transport: Sends them.
        telemetry: Where spans and measurements go.
        url: The address that is asked.
    """

    def __init__(self, transport: Transport, telemetry: Telemetry, url: str) -> None:
        self._transport = transport
        self._telemetry = telemetry
        address = URL(url)
        self._of_both: dict[str, Any] = {
            "http.request.method": "POST",
            "server.address": address.host or "",
            "server.port": address.port or 0,
        }
        # A query may hold a key.
        self._of_span = {**self._of_both, "url.full": str(address.with_query(None))}
        self._duration = telemetry.meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=DURATION_BOUNDARIES_S,
        )

    async def send(self, request: Request) -> Scores:
        """Send the request once, as `Transport` promises."""
        from time import perf_counter

        from opentelemetry.trace import SpanKind, Status, StatusCode

        span = self._telemetry.tracer.start_span(
            "POST", kind=SpanKind.CLIENT, attributes=self._attributes(request)
        )
        outcome: dict[str, Any] = {}
        begun = perf_counter()
        try:
            scores = await self._transport.send(request)
        except BaseException as error:
            status = error.status if isinstance(error, RequestError) else None
            if status is not None:
                outcome["http.response.status_code"] = status
            outcome["error.type"] = str(status) if status is not None else type(error).__name__
            span.set_status(Status(StatusCode.ERROR))
            raise
        else:
            outcome["http.response.status_code"] = _OK
            if scores.total_tokens is not None:
                span.set_attribute("rerank.tokens", scores.total_tokens)
            return scores
        finally:
            span.set_attributes(outcome)
            self._duration.record(perf_counter() - begun, {**self._of_both, **outcome})
            span.end()

    def _attributes(self, request: Request) -> dict[str, Any]:
        return {
            **self._of_span,
            "rerank.query_id": str(request.query_id),
            "rerank.documents": request.num_documents,
        }
