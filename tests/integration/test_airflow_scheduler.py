"""A real scheduler of Airflow 3: a user marks a running task as failed, and its run ends."""

import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.airflow import Airflow, airflow
from support.real_runs import groups, last_record, service, wait_until

from pipeline.core.providers import EMULATOR_PATH
from pipeline.output.lock.output_lock import is_held
from pipeline.storage.location import locate

ONE_TASK = Path(__file__).parent / "airflow_dags" / "one_task.py"
START_S = 240.0

pytestmark = pytest.mark.timeout(900)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Api:
    """The REST API of a running Airflow."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}"
        self._token = ""

    def log_in(self) -> bool:
        try:
            self._token = self.call("GET", "/auth/token")["access_token"]
        except (OSError, ValueError):  # it is not up yet
            return False
        return True

    def knows(self, dag: str) -> bool:
        try:
            return bool(self.call("GET", f"/api/v2/dags/{dag}"))
        except urllib.error.HTTPError:
            return False

    def call(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            self._address + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                "Authorization": f"Bearer {self._token}",
            },
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """Run API server, DAG processor and scheduler, with SQLite and the LocalExecutor."""
    port = free_port()
    variables = {
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__API_AUTH__JWT_SECRET": "x" * 64,
        "AIRFLOW_CONN_RERANK_SERVICE": '{"conn_type": "generic", "password": "a-long-key"}',
    }
    installed: Airflow = airflow("3.3.2", tmp_path / "home", [ONE_TASK])
    commands = (
        ("api-server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        ("dag-processor",),
        ("scheduler", "--skip-serve-logs"),
    )
    running: list[subprocess.Popen[str]] = []
    logs = [(tmp_path / f"{command[0]}.log").open("w") for command in commands]
    try:
        for command, log in zip(commands, logs, strict=True):
            running.append(installed.start("-m", "airflow", *command, stdout=log, **variables))
        api = Api(port)
        wait_until(api.log_in, poll_s=0.5, timeout_s=START_S)
        wait_until(lambda: api.knows("one_task"), poll_s=0.5, timeout_s=START_S)
        yield api
    finally:
        for process in running:
            os.killpg(process.pid, signal.SIGKILL)  # each leads a session of its own
            process.communicate()
        for log in logs:
            log.close()


def test_the_run_of_a_task_that_is_marked_as_failed_ends_in_order(api: Api, tmp_path: Path) -> None:
    source, output = groups([5] * 3_000, tmp_path / "in.parquet"), tmp_path / "out"
    with service("--latency-ms", "50") as slow:
        conf = {
            "input_path": str(source),
            "output_path": str(output),
            "url": slow.address + EMULATOR_PATH,
        }
        body = {"logical_date": "2026-03-01T00:00:00Z", "conf": conf}
        run = api.call("POST", "/api/v2/dags/one_task/dagRuns", body)["dag_run_id"]
        task = f"/api/v2/dags/one_task/dagRuns/{run}/taskInstances/rerank"
        wait_until(lambda: slow.answers() > 20, poll_s=0.1, timeout_s=START_S)
        assert api.call("GET", task)["state"] == "running"

        api.call("PATCH", task, {"new_state": "failed"})
        wait_until(lambda: not is_held(locate(str(output))), poll_s=0.1)

        assert slow.requests() < 3_000
    assert last_record(output)["state"] == "interrupted"
    assert api.call("GET", task)["state"] == "failed"
