"""A real Airflow: an environment of its own, with a database in a folder of its own."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import venv
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from support.real_runs import ROOT, environment

ENVIRONMENTS = ROOT / "out" / "environments"
EXTRAS = "evaluate,duckdb,report"
INSTALL_TIMEOUT_S = 600
TEST_TIMEOUT_S = 240

RUN_A_DAG = """
import importlib.util, json, sys
import pendulum

file, name, day, conf = json.loads(sys.argv[1])
spec = importlib.util.spec_from_file_location(name, file)
module = importlib.util.module_from_spec(spec)
sys.modules[name] = module
spec.loader.exec_module(module)
dag = getattr(module, name)()
import airflow
date = "execution_date" if airflow.__version__.startswith("2.") else "logical_date"
run = dag.test(**{date: pendulum.parse(day), "run_conf": conf})
states = {ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]":
          [getattr(ti.state, "value", ti.state), ti.try_number]
          for ti in run.get_task_instances()}
print("ENDED " + json.dumps([getattr(run.state, "value", run.state), states]), flush=True)
"""


@dataclass(frozen=True)
class DagEnd:
    """How a run of a DAG ended: its state, state and tries of each task, and the log."""

    state: str
    tasks: dict[str, tuple[str, int]]
    log: str


@dataclass(frozen=True)
class Airflow:
    """An installed Airflow with a database.

    Attributes:
        version: Such as 3.3.2.
        home: Its folder.
        dags: The folder of its DAGs.
    """

    version: str
    home: Path
    dags: Path
    python: Path = field(init=False)

    def __post_init__(self) -> None:
        """Find the interpreter."""
        object.__setattr__(self, "python", environment_of(self.version))

    def variables(self, **more: str) -> dict[str, str]:
        """Return the environment of its processes."""
        return environment(
            AIRFLOW_HOME=str(self.home),
            AIRFLOW__CORE__DAGS_FOLDER=str(self.dags),
            AIRFLOW__CORE__LOAD_EXAMPLES="False",
            AIRFLOW__CORE__UNIT_TEST_MODE="False",
            PYTHONPATH=str(ROOT),
            PYTHONWARNINGS="ignore",
            **more,
        )

    def start(
        self, *command: str, stdout: IO[str] | int = subprocess.PIPE, **more: str
    ) -> "subprocess.Popen[str]":
        """Start a command of its environment, in a session of its own."""
        return subprocess.Popen(
            [str(self.python), "-P", *command],
            cwd=self.home,
            env=self.variables(**more),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str, **more: str) -> str:
        """Run a command to its end; return what it printed."""
        process = self.start(*command, **more)
        out = output_of(process)
        assert process.returncode == 0, out[-3_000:]
        return out

    def test_dag(
        self, name: str, conf: Mapping[str, Any], *, day: str = "2026-01-02", **more: str
    ) -> DagEnd:
        """Run a DAG by `dag.test()`, in a process of its own."""
        return read_end(output_of(self.start_dag(name, conf, day=day, **more)))

    def start_dag(
        self, name: str, conf: Mapping[str, Any], *, day: str, **more: str
    ) -> "subprocess.Popen[str]":
        """Start what `test_dag` runs to its end."""
        given = json.dumps([str(self.dags / f"{name}.py"), name, day, dict(conf)])
        return self.start("-c", RUN_A_DAG, given, **more)

    def xcom(self, task_id: str, dag_id: str) -> list[Any]:
        """Return the results of a task, run by run, one for each map index."""
        with closing(sqlite3.connect(self.home / "airflow.db")) as database:
            rows = database.execute(
                "SELECT value FROM xcom WHERE task_id = ? AND dag_id = ? AND key = 'return_value'"
                " ORDER BY dag_run_id, map_index",
                (task_id, dag_id),
            ).fetchall()
        values = [json.loads(value) for (value,) in rows]
        # Airflow 3 keeps JSON in a JSON column: as text.
        return [json.loads(value) if isinstance(value, str) else value for value in values]

    def holds(self, text: str) -> bool:
        """Return whether a text is anywhere in its folder: in the database or in a log."""
        files = [file for file in self.home.rglob("*") if file.is_file()]
        return any(text.encode() in file.read_bytes() for file in files)


def read_end(out: str) -> DagEnd:
    """Return the end of a DAG run from what its process printed."""
    ended = [line for line in out.splitlines() if line.startswith("ENDED ")]
    assert ended, out[-3_000:]
    state, tasks = json.loads(ended[0].removeprefix("ENDED "))
    return DagEnd(state, {name: tuple(facts) for name, facts in tasks.items()}, out)


def output_of(process: "subprocess.Popen[str]", timeout_s: float = TEST_TIMEOUT_S) -> str:
    """Wait for a process; return what it printed. Kill it and its group if it takes too long."""
    try:
        return process.communicate(timeout=timeout_s)[0]
    except BaseException:
        os.killpg(process.pid, 9)  # of its own session; Airflow 3 ignores SIGTERM after a task
        process.communicate()
        raise


def environment_of(version: str) -> Path:
    """Return the interpreter of an environment with this Airflow and the project; make it first."""
    home = ENVIRONMENTS / f"airflow-{version}"
    interpreter = home / "bin" / "python"
    if not (home / "complete").exists():
        venv.create(home, with_pip=True, clear=True)
        packages = (f"apache-airflow=={version}", "-e", f"{ROOT}[{EXTRAS}]")
        install = (str(interpreter), "-m", "pip", "install", "--quiet", *packages)
        subprocess.run(install, check=True, timeout=INSTALL_TIMEOUT_S, stdout=sys.stderr)
        (home / "complete").touch()
    return interpreter


def airflow(version: str, home: Path, dags: Iterable[Path]) -> Airflow:
    """Return an Airflow with a new database and copies of these files with DAGs."""
    made = Airflow(version, home, home / "dags")
    made.dags.mkdir(parents=True)
    for file in dags:
        shutil.copy(file, made.dags)
    made.run("-m", "airflow", "db", "migrate")
    return made
