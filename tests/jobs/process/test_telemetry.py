"""OTEL_* variables: what they name is set up, sent to a real receiver, and never in the way."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from support.real_runs import ROOT, end, environment, groups, rerank, start

HEADERS = "authorization=Bearer%20token"


class Receiver:
    """An OTLP receiver over HTTP, which decodes what it gets."""

    def __init__(self, *, latency_s: float = 0.0) -> None:
        self.spans: list[Any] = []
        self.metrics: dict[str, Any] = {}
        self.resources: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(latency_s)
                receiver.take(self.path, body, dict(self.headers))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def take(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        self.headers.append(headers)
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self._take_resource(resource)
                for scope in resource.scope_spans:
                    self.spans += scope.spans
        if path == "/v1/metrics":
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self._take_resource(resource)
                for scope in resource.scope_metrics:
                    self.metrics |= {metric.name: metric for metric in scope.metrics}

    def _take_resource(self, resource: Any) -> None:
        facts = {one.key: one.value.string_value for one in resource.resource.attributes}
        self.resources.append(facts)

    def __enter__(self) -> "Receiver":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


def command(tmp_path: Path) -> tuple[object, ...]:
    given = groups([3] * 5, tmp_path / "in.parquet")
    return ("run", given, tmp_path / "out", "--provider", "emulator", "--no-progress")


def test_a_run_sends_spans_and_metrics_to_the_endpoint(tmp_path: Path, receiver: Receiver) -> None:
    env = environment(
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
        OTEL_EXPORTER_OTLP_HEADERS=HEADERS,
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
    )

    ended = rerank(*command(tmp_path), env=env)

    assert ended.code == 0, ended.err
    names = [span.name for span in receiver.spans]
    assert sorted(set(names)) == ["POST", "rerank part", "rerank run"]
    assert names.count("POST") == 5
    assert {"http.client.request.duration", "rerank.requests"} <= receiver.metrics.keys()
    (point,) = receiver.metrics["rerank.requests"].sum.data_points
    assert point.as_double == 5 or point.as_int == 5
    for facts in receiver.resources:
        assert facts["service.name"] == "rerank-pipeline"
        assert facts["deployment.environment.name"] == "test"
    assert all(headers["authorization"] == "Bearer token" for headers in receiver.headers)


def test_one_signal_may_be_sent_alone(tmp_path: Path, receiver: Receiver) -> None:
    env = environment(
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
        OTEL_TRACES_EXPORTER="none",
        OTEL_SERVICE_NAME="nightly",
    )

    assert rerank(*command(tmp_path), env=env).code == 0

    assert receiver.spans == []
    assert receiver.metrics
    assert {facts["service.name"] for facts in receiver.resources} == {"nightly"}


@pytest.mark.parametrize("variables", [{}, {"OTEL_SDK_DISABLED": "true"}])
def test_nothing_is_imported_unless_it_is_asked_for(
    variables: dict[str, str], tmp_path: Path, receiver: Receiver
) -> None:
    script = (
        "import sys, json; from jobs.cli import main; code = main(sys.argv[1:]);"
        "print(json.dumps([code, [n for n in sys.modules if n.startswith('opentelemetry')]]))"
    )
    if variables:
        variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.url

    ended = subprocess.run(
        [sys.executable, "-c", script, *map(str, command(tmp_path))],
        env=environment(**variables),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert json.loads(ended.stdout.splitlines()[-1]) == [0, []]
    assert receiver.headers == []


def test_an_exporter_that_is_not_installed_is_named(tmp_path: Path) -> None:
    ended = rerank(*command(tmp_path), env=environment(OTEL_TRACES_EXPORTER="zipkin"))

    assert ended.code == 2
    assert "OTEL_TRACES_EXPORTER: no such exporter is installed (found zipkin)" in ended.failure


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "slow"])
def test_a_collector_that_is_down_or_slow_harms_no_run(endpoint: str, tmp_path: Path) -> None:
    with Receiver(latency_s=30.0) as slow:
        url = slow.url if endpoint == "slow" else endpoint
        process = start(*command(tmp_path), env=environment(OTEL_EXPORTER_OTLP_ENDPOINT=url))
        begun = time.monotonic()
        ended = end(process)

    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    assert time.monotonic() - begun < 25
