"""OpenTelemetry: spans of runs, parts and requests, and metrics, against in-memory exporters."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from support.fake_reranker import PATH, FakeReranker
from support.group_world import make_settings
from support.real_runs import groups

from pipeline.core.errors import RerankError
from pipeline.dataset.exported_metrics import METRICS
from pipeline.dataset.rerank import DatasetRun
from pipeline.dataset.session import Session
from pipeline.service.telemetry import DURATION_BOUNDARIES_S, Telemetry, telemetry_in_use


class Collected:
    """What was exported, kept in memory."""

    def __init__(self) -> None:
        self._spans, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.telemetry = Telemetry.of(self.tracers, self.meters)

    def spans(self, name: str) -> Sequence[ReadableSpan]:
        return [span for span in self._spans.get_finished_spans() if span.name == name]

    def metrics(self) -> dict[str, Any]:
        data = self._reader.get_metrics_data()
        assert data is not None
        (scope,) = data.resource_metrics[0].scope_metrics
        return {metric.name: metric for metric in scope.metrics}

    def value(self, name: str, **attributes: str) -> float:
        (point,) = [
            point
            for point in self.metrics()[name].data.data_points
            if attributes.items() <= dict(point.attributes).items()
        ]
        return float(point.value)


@pytest.fixture
def collected() -> Iterator[Collected]:
    found = Collected()
    yield found
    found.tracers.shutdown()
    found.meters.shutdown()


async def rerank(
    given: Path, output: Path, collected: Collected | None, *script: Any, **how: Any
) -> str:
    """Run once; return the address that was asked."""
    async with FakeReranker(*script) as fake:
        settings = make_settings(url=f"{fake.url}?key=secret", **how)
        telemetry = None if collected is None else collected.telemetry
        async with Session(settings, "key", telemetry=telemetry) as session:
            try:
                await DatasetRun(session, str(given), str(output)).run()
            except RerankError:
                pass
        return fake.url


@pytest.fixture
def given(tmp_path: Path) -> Path:
    return groups([3] * 6, tmp_path / "in.parquet")


async def test_a_run_is_a_span_and_so_is_each_part_and_each_request(
    given: Path, tmp_path: Path, collected: Collected
) -> None:
    await rerank(given, tmp_path / "out", collected, groups_per_part=2)

    (run,) = collected.spans("rerank run")
    parts, requests = collected.spans("rerank part"), collected.spans("POST")
    assert run.attributes is not None
    assert run.attributes["rerank.state"] == "done"
    assert run.attributes["rerank.requests"] == 6
    assert sorted(part.attributes["rerank.part"] for part in parts if part.attributes) == [0, 1, 2]
    assert len(requests) == 6
    for span in (*parts, *requests):
        assert span.parent is not None
        assert span.parent.span_id == run.context.span_id
        assert run.start_time is not None
        assert run.end_time is not None
        assert span.start_time is not None
        assert span.end_time is not None
        assert run.start_time - 2e9 <= span.start_time <= span.end_time <= run.end_time


async def test_a_request_follows_the_conventions_of_http_clients(
    given: Path, tmp_path: Path, collected: Collected
) -> None:
    url = await rerank(given, tmp_path / "out", collected)

    span = collected.spans("POST")[0]
    host, _, port = url.removeprefix("http://").partition("/")[0].partition(":")
    assert span.kind is SpanKind.CLIENT
    assert span.attributes is not None
    facts = dict(span.attributes)
    assert str(facts.pop("rerank.query_id")).startswith("q")
    assert facts.pop("rerank.tokens")
    assert facts == {
        "http.request.method": "POST",
        "server.address": host,
        "server.port": int(port),
        "url.full": url,
        "http.response.status_code": 200,
        "rerank.documents": 3,
    }
    assert url.endswith(PATH)
    assert span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("step", "error_type", "status"),
    [(429, "429", 429), (503, "503", 503), ("reset", "Transient", None)],
)
async def test_a_failed_request_has_its_error(
    step: Any,
    error_type: str,
    status: int | None,
    given: Path,
    tmp_path: Path,
    collected: Collected,
) -> None:
    await rerank(given, tmp_path / "out", collected, 200, step)

    failed = [span for span in collected.spans("POST") if not span.status.is_ok]
    assert len(failed) == 1
    assert failed[0].attributes is not None
    assert failed[0].attributes["error.type"] == error_type
    assert failed[0].attributes.get("http.response.status_code") == status
    assert failed[0].status.status_code is StatusCode.ERROR


async def test_a_failed_run_has_its_error(
    given: Path, tmp_path: Path, collected: Collected
) -> None:
    await rerank(given, tmp_path / "out", collected, *[401] * 9)

    (run,) = collected.spans("rerank run")
    assert run.attributes is not None
    assert run.attributes["error.type"] == "ServiceRefused"
    assert run.attributes["rerank.state"] == "failed"
    assert run.status.status_code is StatusCode.ERROR


async def test_durations_are_a_histogram_with_the_boundaries_of_the_conventions(
    given: Path, tmp_path: Path, collected: Collected
) -> None:
    await rerank(given, tmp_path / "out", collected, 200, 503)

    metric = collected.metrics()["http.client.request.duration"]
    points = {
        point.attributes["http.response.status_code"]: point for point in metric.data.data_points
    }
    assert metric.unit == "s"
    assert points[200].count >= 6, "a witness may be among them"
    assert points[503].count == 1
    assert points[503].attributes["error.type"] == "503"
    assert tuple(points[200].explicit_bounds) == DURATION_BOUNDARIES_S


async def test_the_numbers_of_the_run_are_metrics(
    given: Path, tmp_path: Path, collected: Collected
) -> None:
    await rerank(given, tmp_path / "out", collected)

    found = collected.metrics()
    assert {metric.otel_name for metric in METRICS} - found.keys() <= {
        *("rerank.quota_used", "rerank.held_back")
    }
    assert collected.value("rerank.requests") == 6
    assert collected.value("rerank.candidates_done") == 18
    assert collected.value("rerank.state", **{"rerank.state": "done"}) == 1
    (point,) = found["rerank.requests"].data.data_points
    assert dict(point.attributes) == {
        "rerank.output": str(tmp_path / "out"),
        "rerank.provider": "dashscope",
        "rerank.model": "qwen3-rerank",
    }
    assert found["rerank.requests"].data.is_monotonic


async def test_runs_of_one_session_are_told_apart(
    given: Path, tmp_path: Path, collected: Collected
) -> None:
    async with FakeReranker() as fake:
        session = Session(make_settings(url=fake.url), "key", telemetry=collected.telemetry)
        async with session:
            for name in ("one", "two"):
                await DatasetRun(session, str(given), str(tmp_path / name)).run()

    outputs = {span.attributes["rerank.output"] for span in collected.spans("rerank run")}  # type: ignore[index]
    assert outputs == {str(tmp_path / "one"), str(tmp_path / "two")}
    points = collected.metrics()["rerank.candidates_done"].data.data_points
    assert {point.attributes["rerank.output"] for point in points} == outputs


async def test_neither_a_key_nor_a_text_is_in_a_span_or_a_metric(
    given: Path, tmp_path: Path, collected: Collected
) -> None:
    await rerank(given, tmp_path / "out", collected, 400, 503)

    shown = "".join(
        span.to_json()
        for name in ("POST", "rerank run", "rerank part")
        for span in collected.spans(name)
    )
    assert "secret" not in shown
    assert "river" not in shown
    assert "tent" not in shown


async def test_without_it_nothing_is_made(given: Path, tmp_path: Path) -> None:
    await rerank(given, tmp_path / "out", None)


def test_an_sdk_that_was_not_set_up_is_not_used() -> None:
    assert telemetry_in_use() is None
