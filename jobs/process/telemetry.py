"""Set up OpenTelemetry for a command, if the environment asks for it by the usual OTEL_* variables.

It does if a variable names an endpoint or an exporter. Exporters, resource, sampler, intervals and
headers are then those of the environment, read by the SDK (opentelemetry.io/docs/specs/otel,
page `configuration/sdk-environment-variables`, read 2026-11).
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Any, Final

from pipeline.core.errors import SettingsError
from pipeline.core.events import log_event

if TYPE_CHECKING:
    from pipeline.service.telemetry import Telemetry

log = logging.getLogger(__name__)

SERVICE_NAME: Final = "rerank-pipeline"
MAX_FLUSH_S: Final = 2.0
"""A collector that is down must not keep a command from ending."""
FLUSH_AFTER_FAILURE_S: Final = 0.5
"""A signal leaves five seconds in all, of which requests in flight may take four."""

_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_PROTOCOL: Final = "OTEL_EXPORTER_OTLP_PROTOCOL"
_NAMES: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


@contextmanager
def telemetry_of_environment() -> "Iterator[Telemetry | None]":
    """Yield where spans and metrics go; None if the environment does not ask for any.

    When the body ends, the rest is sent for at most two seconds; after a failure, for half a
    second.

    Raises:
        SettingsError: for an exporter that is not installed.
    """
    spans, numbers = _exporter_name("TRACES"), _exporter_name("METRICS")
    is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if is_disabled or (spans is None and numbers is None):
        yield None
        return
    try:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        # The variables may be meant for other programs on this machine.
        log_event(
            log, logging.INFO, "telemetry.not_installed", cure="pip install 'rerank-pipeline[otel]'"
        )
        yield None
        return
    from pipeline.service.telemetry import Telemetry

    logging.getLogger("opentelemetry").setLevel(logging.ERROR)  # else a line for each failed export
    facts = {"service.name": SERVICE_NAME, "service.version": version("rerank-pipeline")}
    if os.environ.get("OTEL_SERVICE_NAME"):
        del facts["service.name"]
    resource = Resource.create(facts)
    readers = []
    if numbers is not None:
        readers.append(PeriodicExportingMetricReader(_load("metrics", numbers)))
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    meters = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
    if spans is not None:
        tracers.add_span_processor(BatchSpanProcessor(_load("traces", spans)))
    flush_s = MAX_FLUSH_S
    try:
        yield Telemetry.of(tracers, meters)
    except BaseException:  # raised again: only the flush is shorter
        flush_s = FLUSH_AFTER_FAILURE_S
        raise
    finally:
        _end(tracers, meters, within_s=flush_s)


def _exporter_name(signal: str) -> str | None:
    """Return the name of a signal's exporter by its entry point; None for none."""
    chosen = os.environ.get(f"OTEL_{signal}_EXPORTER", "").strip().lower()
    endpoints = (_ENDPOINT, f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    if not chosen:
        chosen = "otlp" if any(os.environ.get(name) for name in endpoints) else "none"
    if chosen == "none":
        return None
    if chosen != "otlp":
        return chosen
    protocol = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or os.environ.get(
        _PROTOCOL, "http/protobuf"
    )
    return _NAMES.get(protocol, protocol)


def _load(signal: str, name: str) -> Any:
    """Return an exporter, which reads its own variables.

    Raises:
        SettingsError: if it is not installed.
    """
    found = list(entry_points(group=f"opentelemetry_{signal}_exporter", name=name))
    if not found:
        raise SettingsError(
            "no such exporter is installed",
            which=f"OTEL_{signal.upper()}_EXPORTER",
            found=name,
            cure="pip install 'rerank-pipeline[otel]' brings otlp (http/protobuf) and console",
        )
    return found[0].load()()


def _end(*providers: Any, within_s: float) -> None:
    """Send what is left, and close; give up after so many seconds."""

    def shut_down() -> None:
        for provider in providers:
            provider.shutdown()

    closing = threading.Thread(target=shut_down, name="telemetry-end", daemon=True)
    closing.start()
    closing.join(within_s)
