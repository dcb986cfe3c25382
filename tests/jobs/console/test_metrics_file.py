"""`--metrics-file`: a whole file at any moment, which Prometheus understands."""

import asyncio
import stat
import tempfile
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.real_runs import groups, rerank_here
from support.virtual_clock import on_virtual_clock

from jobs.console.metrics_file import MetricsFile, metrics_text
from pipeline.core.errors import SettingsError
from pipeline.dataset.exported_metrics import METRICS
from pipeline.dataset.summary import RunSummary

LABELS = {"output": "out"}
Samples = dict[tuple[str, str], float]


def parsed(text: str, label: str = "") -> Samples:
    """Return the values of a file by name and label."""
    return {
        (sample.name, sample.labels.get(label, "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(file: Path, label: str = "") -> Samples:
    return parsed(file.read_text(), label)


def names(folder: str) -> list[str]:
    return [path.name for path in Path(folder).iterdir()]


def test_every_metric_has_a_help_a_type_and_a_name_of_its_kind() -> None:
    now = RunSummary(
        groups=1, candidates=1, quota_used=0.5, latency_ms={"p50": 1.0}, bound_s={"cpu": 1.0}
    )
    families = {f.name: f for f in text_string_to_metric_families(metrics_text(now, {}, 1, 2))}

    assert len(families) == len(METRICS) + 2
    for metric in METRICS:
        family = families[metric.prometheus_name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        assert metric.prometheus_name.endswith("_total") == (metric.kind == "counter")
    assert len({metric.otel_name for metric in METRICS}) == len(METRICS)


def test_the_numbers_of_a_run_are_in_the_file() -> None:
    now = RunSummary(requests=7, cost_usd=0.25, latency_ms={"p50": 120.0, "p99": 500.0})

    found = parsed(metrics_text(now, LABELS, 10.0, 20.0))

    assert found["rerank_requests_total", ""] == 7
    assert found["rerank_cost_usd_total", ""] == 0.25
    assert ("rerank_end_time_seconds", "") not in found
    quantiles = parsed(metrics_text(now, LABELS, 10.0, 20.0), "quantile")
    assert quantiles["rerank_latency_seconds", "0.99"] == 0.5


def test_the_state_is_1_for_one_of_all_states() -> None:
    found = parsed(metrics_text(RunSummary(state="partial"), LABELS, 10.0, 20.0), "state")

    states = {label: value for (name, label), value in found.items() if name == "rerank_state"}
    assert states == {"running": 0, "interrupted": 0, "failed": 0, "partial": 1, "done": 0}
    assert found["rerank_end_time_seconds", ""] == 20.0


def test_labels_are_escaped() -> None:
    name = 'a"b\\c\nd {}'

    (family, *_) = text_string_to_metric_families(
        metrics_text(RunSummary(), {"output": name}, 1, 2)
    )

    assert family.samples[0].labels == {"output": name}


@on_virtual_clock
async def test_it_is_written_every_five_seconds_and_at_the_end() -> None:
    with tempfile.TemporaryDirectory() as name:
        file, now = Path(name, "run.prom"), RunSummary()
        metrics, seen = MetricsFile(str(file), LABELS), []
        with metrics.following(lambda: now):
            for requests in range(4):
                await asyncio.sleep(4)
                seen.append(read(file).get(("rerank_requests_total", "")))
                now = RunSummary(requests=requests + 1)
            now = RunSummary(requests=9, state="done")

        assert seen == [0, 1, 2, 3]
        assert read(file)["rerank_requests_total", ""] == 9
        assert names(name) == ["run.prom"]


@on_virtual_clock
async def test_a_run_that_never_began_has_failed() -> None:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "run.prom")
        with MetricsFile(str(file), LABELS).following(RunSummary):
            pass

        assert read(file, "state")["rerank_state", "failed"] == 1


def test_other_users_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "run.prom"

    MetricsFile(str(file), LABELS)

    assert stat.S_IMODE(file.stat().st_mode) == 0o644


@pytest.mark.parametrize("name", ["", ".", "none/run.prom"])
def test_a_file_that_cannot_be_written_is_refused_at_the_start(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SettingsError, match="--metrics-file"):
        MetricsFile(name, LABELS)


def test_a_folder_that_vanishes_is_logged_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    metrics = MetricsFile(str(folder / "run.prom"), LABELS)
    (folder / "run.prom").unlink()
    folder.rmdir()

    for _ in range(3):
        metrics.write(RunSummary())

    assert caplog.text.count("metrics_file.not_written") == 1


def test_a_run_writes_it(tmp_path: Path) -> None:
    given, file = groups([3] * 4, tmp_path / "in.parquet"), tmp_path / "run.prom"
    command = ("run", given, tmp_path / "out", "--provider", "emulator", "--no-progress")

    ended = rerank_here(*command, "--metrics-file", file)

    assert ended.code == 0, ended.err
    found = read(file)
    assert found["rerank_candidates_done", ""] == 12
    assert found["rerank_requests_total", ""] == 4
    assert read(file, "output")["rerank_groups", str(tmp_path / "out")] == 4


def test_a_run_on_dask_refuses_it_instead_of_writing_none(tmp_path: Path) -> None:
    given, file = groups([3], tmp_path / "in.parquet"), tmp_path / "run.prom"
    command = ("run", given, tmp_path / "out", "--provider", "emulator", "--dask", "local:1")

    ended = rerank_here(*command, "--metrics-file", file)

    assert ended.code == 2
    assert "--metrics-file: a run on Dask writes none" in ended.failure
