"""Real Airflow: the example DAGs, retries, refusals, and what happens when a task is killed."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.airflow import Airflow, DagEnd, airflow, output_of, read_end
from support.real_runs import (
    KEY,
    ROOT,
    SAMPLE,
    Service,
    groups,
    last_record,
    rows_of,
    service,
    start,
    wait_until,
)

from pipeline.core.providers import EMULATOR_PATH
from pipeline.output.lock.output_lock import is_held
from pipeline.storage.location import locate

VERSIONS = ("3.3.2", "2.11.2", "2.10.5")
EXAMPLES = ROOT / "jobs" / "airflow" / "example_dags"
CONNECTION = f'{{"conn_type": "generic", "password": "{KEY}"}}'
ONE_TASK = Path(__file__).parent / "airflow_dags" / "one_task.py"
GROUPS = 300

pytestmark = pytest.mark.timeout(900)  # the first test of a version installs it


@pytest.fixture(scope="module", params=VERSIONS)
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    folder = tmp_path_factory.mktemp("airflow")
    return airflow(request.param, folder / "home", [*EXAMPLES.glob("rerank_*.py"), ONE_TASK])


@pytest.fixture(scope="module")
def strict() -> Iterator[Service]:
    """Run a service that takes the right key alone."""
    with service("--api-key", KEY) as running:
        yield running


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Return a folder with three nights of candidates, and judgements."""
    for day in (1, 2, 3):
        night = tmp_path / "in" / f"dt=2026-01-0{day}"
        night.mkdir(parents=True)
        (night / "a.parquet").symlink_to(SAMPLE / "candidates.parquet")
        (night / "_SUCCESS").touch()
    return tmp_path


def conf(lake: Path, at: Service, **more: object) -> dict[str, Any]:
    return {
        "input_root": str(lake / "in"),
        "output_root": str(lake / "out"),
        "score_store": str(lake / "scores"),
        "provider": "dashscope",
        "url": at.address + EMULATOR_PATH,
        **more,
    }


def test_the_nightly_dag_reranks_judges_loads_and_reports(
    real: Airflow, lake: Path, strict: Service
) -> None:
    given = conf(
        lake,
        strict,
        qrels=str(SAMPLE / "qrels.parquet"),
        load_to=f"duckdb:///{lake}/night.duckdb",
    )

    ended = real.test_dag(
        "rerank_nightly", given,
        day="2026-01-02T02:00", AIRFLOW_CONN_RERANK_SERVICE=CONNECTION,
    )  # fmt: skip

    output = lake / "out" / "dt=2026-01-02"
    assert ended.state == "success", ended.log[-3_000:]
    assert {state for state, _ in ended.tasks.values()} == {"success"}
    assert len(ended.tasks) == 7
    assert (output / "_SUCCESS").exists()
    assert (output / "_report.html").exists()
    with duckdb.connect(str(lake / "night.duckdb")) as database:
        assert database.execute("SELECT count(*) FROM reranked").fetchall() == [(3_261,)]
    (summary,) = real.xcom("rerank", "rerank_nightly")
    assert (summary["state"], summary["candidates"], summary["requests"]) == ("done", 3_261, 51)
    assert not real.holds(KEY)
    assert KEY not in ended.log


def test_a_night_that_would_cost_too_much_sends_nothing(
    real: Airflow, lake: Path, quick_service: Service
) -> None:
    before = quick_service.requests()

    ended = real.test_dag(
        "rerank_nightly",
        conf(lake, quick_service, max_cost=0.01, night="2026-01-03"),
        day="2026-01-12T02:00", AIRFLOW_CONN_RERANK_SERVICE=CONNECTION,
    )  # fmt: skip

    assert ended.state == "failed"
    assert ended.tasks["check_cost"][0] == "failed"
    assert "the night would cost $0.04, over $0.01" in ended.log
    assert quick_service.requests() == before


def test_the_backfill_dag_has_a_task_for_each_partition_and_one_quota(
    real: Airflow, lake: Path, strict: Service
) -> None:
    quota = start("quota", "serve")
    assert quota.stdout is not None
    try:
        given = conf(lake, strict, quota=quota.stdout.readline().strip(), last="2026-01-03")
        ended = real.test_dag(
            "rerank_backfill", given,
            AIRFLOW_CONN_RERANK_SERVICE=CONNECTION,
        )  # fmt: skip
    finally:
        quota.terminate()
        quota.communicate(timeout=30)

    assert ended.state == "success", ended.log[-3_000:]
    states = [last_record(lake / "out" / f"dt=2026-01-0{day}")["state"] for day in (1, 2, 3)]
    assert states == ["done"] * 3
    paid = [one["requests"] for one in real.xcom("rerank", "rerank_backfill")]
    assert sorted(paid) == [0, 0, 51]  # in any order: all days hold the same groups
    (sums,) = real.xcom("add_up", "rerank_backfill")
    assert (sums["candidates"], sums["requests_reused"]) == (3 * 3_261, 2 * 51)


def one_task(source: Path, at: Service, **more: object) -> dict[str, Any]:
    return {
        "input_path": str(source),
        "output_path": str(source.parent / "out"),
        "url": at.address + EMULATOR_PATH,
        **more,
    }


def test_a_wrong_key_fails_at_once_and_is_not_shown(
    real: Airflow, tmp_path: Path, strict: Service
) -> None:
    wrong = "sk-a-wrong-key-that-nobody-may-see"
    source = groups([3] * 5, tmp_path / "in.parquet")

    ended = real.test_dag(
        "one_task", one_task(source, strict, provider="dashscope"), day="2026-02-01",
        AIRFLOW_CONN_RERANK_SERVICE=CONNECTION.replace(KEY, wrong),
    )  # fmt: skip

    assert ended.state == "failed"
    assert ended.tasks["rerank"] == ("failed", 1)
    assert "rerank run ended with exit 4" in ended.log
    assert wrong not in ended.log
    assert not real.holds(wrong)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    return groups([5] * GROUPS, tmp_path / "in.parquet")


def run_of(output: Path) -> int:
    """Return the process that reranks into this output."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = line.read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        if b"run" in words and str(output).encode() in words:
            found.append(int(line.parent.name))
    (pid,) = found
    return pid


def test_a_run_that_is_killed_is_retried_and_goes_on(
    real: Airflow, tmp_path: Path, large: Path
) -> None:
    with service("--latency-ms", "30") as slow:
        given = one_task(large, slow)
        process = real.start_dag(
            "one_task", given, day="2026-02-02", AIRFLOW_CONN_RERANK_SERVICE=CONNECTION
        )
        wait_until(lambda: slow.answers() > 20)
        os.kill(run_of(tmp_path / "out"), signal.SIGKILL)
        ended = read_end(output_of(process))
        answers = slow.answers()

    assert ended.state == "success", ended.log[-3_000:]
    assert ended.tasks["rerank"] == ("success", 2)
    assert "exit -9 (killed by SIGKILL" in ended.log
    summary = real.xcom("rerank", "one_task")[-1]
    assert summary["requests"] + summary["requests_reused"] == GROUPS
    assert answers < GROUPS + 20  # at most what was in flight is paid again
    assert len(rows_of(tmp_path / "out")) == 5 * GROUPS
    assert len(set(commands(ended))) == 1  # which does not depend on the try


def commands(ended: DagEnd) -> list[str]:
    return re.findall(r"Running (\S+ -P -m jobs run .*?/out)\b", ended.log)


def test_a_task_that_airflow_kills_stops_its_run_in_order_and_is_no_success(
    real: Airflow, tmp_path: Path, large: Path
) -> None:
    results = real.xcom("rerank", "one_task")
    with service("--latency-ms", "30") as slow:
        given = one_task(large, slow)
        process = real.start_dag(
            "one_task", given, day="2026-02-03",
            AIRFLOW_CONN_RERANK_SERVICE=CONNECTION, ONE_TASK_RETRIES="0",
        )  # fmt: skip
        wait_until(lambda: slow.answers() > 20)
        process.send_signal(signal.SIGTERM)  # to the process of the task, as its supervisor does
        log = output_of(process)
        assert slow.requests() < GROUPS

    assert "run.stopping" in log
    assert 'ENDED ["success' not in log  # in Airflow 2 dag.test() itself ends with an error
    assert real.xcom("rerank", "one_task") == results
    assert last_record(tmp_path / "out")["state"] == "interrupted"
    assert not is_held(locate(str(tmp_path / "out")))


def test_a_run_ends_when_its_task_is_killed_and_the_next_try_goes_on(
    real: Airflow, tmp_path: Path, large: Path
) -> None:
    with service("--latency-ms", "30") as slow:
        given = one_task(large, slow)
        process = real.start_dag(
            "one_task", given, day="2026-02-04", AIRFLOW_CONN_RERANK_SERVICE=CONNECTION
        )
        wait_until(lambda: slow.answers() > 20)
        process.kill()
        process.communicate()
        ended = real.test_dag(
            "one_task", given, day="2026-02-05", AIRFLOW_CONN_RERANK_SERVICE=CONNECTION
        )

    assert ended.state == "success", ended.log[-3_000:]
    summary = real.xcom("rerank", "one_task")[-1]
    assert summary["requests_reused"] > 20
    assert summary["requests"] + summary["requests_reused"] == GROUPS


def test_a_dag_with_a_wrong_name_of_an_option_is_refused_when_it_is_parsed(real: Airflow) -> None:
    script = """
from jobs.airflow import RerankBackfillOperator, RerankOperator
for name in ("topn", "no_such_argument"):
    try:
        RerankOperator(task_id="t", input_path="i", output_path="o", **{name: 3})
    except Exception as error:
        print(type(error).__name__, error)
try:
    places = {"input_root": "i", "output_root": "o", "first": "1", "last": "2"}
    RerankBackfillOperator(task_id="t", shard="1/2", **places)
except TypeError as error:
    print("TypeError", error)
"""
    out = real.run("-c", script)

    assert "TypeError no such option: topn; did you mean top_n?" in out
    assert "TypeError no option of a backfill: shard; map a RerankOperator instead" in out
    assert "no_such_argument" in out


def test_no_option_has_the_name_of_an_argument_of_airflow(real: Airflow) -> None:
    script = """
from inspect import signature
from jobs.airflow.operators import BaseOperator
from jobs.airflow.options import RUN_OPTIONS
print("SHARED", set(RUN_OPTIONS) & set(signature(BaseOperator.__init__).parameters))
"""
    assert "SHARED set()" in real.run("-c", script)


def test_the_operators_take_no_time_to_import_beside_airflow(real: Airflow) -> None:
    script = """
import time
import jobs.airflow.operators as operators
import importlib, sys
for name in [name for name in sys.modules if name.startswith(("jobs", "pipeline"))]:
    del sys.modules[name]
begun = time.process_time()
importlib.import_module("jobs.airflow.operators")
print("TOOK", time.process_time() - begun)
"""
    took_s = float(real.run("-c", script).rpartition("TOOK ")[2])

    assert took_s < 0.05
