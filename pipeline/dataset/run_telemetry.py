"""Report a run to OpenTelemetry: its span, those of its parts, and its numbers."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from pipeline.dataset.exported_metrics import METRICS, ExportedMetric
from pipeline.dataset.summary import RunSummary
from pipeline.output.part_info import PartInfo
from pipeline.service.telemetry import Telemetry

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation

_INSTRUMENTS: Final = {"counter": "create_observable_counter", "gauge": "create_observable_gauge"}


MAX_OBSERVED: Final = 64
"""How many runs are reported, the latest ones; those of a long backfill end long before it."""


class ObservedRuns:
    """The runs of a session whose numbers go to OpenTelemetry; one instrument for all.

    Args:
        telemetry: Where spans and numbers go.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._runs: deque[RunTelemetry] = deque(maxlen=MAX_OBSERVED)
        for metric in METRICS:
            create = getattr(telemetry.meter, _INSTRUMENTS[metric.kind])
            create(
                metric.otel_name,
                callbacks=[self._callback(metric)],
                unit=metric.unit,
                description=metric.help,
            )

    def begin(self, attributes: Mapping[str, str]) -> "RunTelemetry":
        """Return the telemetry of a run.

        Args:
            attributes: Attributes that identify the run, on its span and on each number.
        """
        run = RunTelemetry(self._telemetry, attributes)
        self._runs.append(run)
        return run

    def _callback(
        self, metric: ExportedMetric
    ) -> "Callable[[CallbackOptions], Iterable[Observation]]":
        from opentelemetry.metrics import Observation

        def observe(_: Any) -> "Iterator[Observation]":
            for run in tuple(self._runs):
                found = None if run.now is None else metric.read(run.now)
                values = found if isinstance(found, Mapping) else {"": found}
                for key, value in values.items():
                    if value is not None:
                        own = {f"rerank.{metric.label}": key} if metric.label else {}
                        yield Observation(value, {**run.attributes, **own})

        return observe


class RunTelemetry:
    """Reports one run.

    Numbers are kept as they were at the last `observe`, since exporters ask for them in a thread.
    So a run costs no more than some microseconds a second, however many requests it sends.

    Args:
        telemetry: Where spans and numbers go.
        attributes: Attributes that identify this run.

    Attributes:
        now: Its numbers at the last `observe`; None before.
    """

    def __init__(self, telemetry: Telemetry, attributes: Mapping[str, str]) -> None:
        self.attributes = dict(attributes)
        self.now: RunSummary | None = None
        self._telemetry = telemetry

    @contextmanager
    def running(self, snapshot: Callable[[], RunSummary]) -> Iterator[None]:
        """Run the body in the span of the run; report its numbers at the end."""
        with self._telemetry.span("rerank run", self.attributes) as span:
            try:
                yield
            finally:
                now = snapshot()
                self.observe(now)
                span.set_attributes(
                    {
                        "rerank.state": now.state,
                        "rerank.candidates": now.candidates_done,
                        "rerank.requests": now.requests,
                        "rerank.tokens": now.total_tokens,
                        "rerank.cost_usd": now.cost_usd,
                    }
                )

    def observe(self, now: RunSummary) -> None:
        """Take the numbers of the run as they are now."""
        self.now = now

    def add_part(self, part: PartInfo, begun_s: float) -> None:
        """Make a span of a part that was written; it began so many seconds after 1970."""
        span = self._telemetry.tracer.start_span(
            "rerank part",
            attributes={
                "rerank.part": part.index,
                "rerank.queries": part.num_groups,
                "rerank.candidates": part.num_candidates,
                "rerank.rejected": part.num_rejected,
            },
            start_time=int(begun_s * 1e9),
        )
        span.end(time.time_ns())
