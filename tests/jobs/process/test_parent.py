"""A command stops in order when its parent has ended, if its launcher asked for that."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.real_runs import (
    ROOT,
    end,
    environment,
    groups,
    last_record,
    rerank,
    service,
    start,
    wait_until,
)

from jobs.process.parent import STOP_WITH_PARENT
from pipeline.output.lock.output_lock import is_held
from pipeline.storage.location import locate

LAUNCHER = """
import json, subprocess, sys
command, environment = json.loads(sys.argv[1])
child = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""


def test_a_run_stops_in_order_when_its_input_ends(tmp_path: Path) -> None:
    candidates = groups([5] * 200, tmp_path / "in.parquet")
    with service("--latency-ms", "50") as slow:
        process = start(
            *("run", candidates, tmp_path / "out", *slow.options, "--max-in-flight", "2"),
            env=environment(**{STOP_WITH_PARENT: "1"}),
            stdin=subprocess.PIPE,
        )
        wait_until(lambda: slow.answers() > 3)
        ended = end(process)  # closes its input

    assert ended.code == 128 + signal.SIGTERM
    assert "interrupted, state saved" in ended.err
    assert last_record(tmp_path / "out")["state"] == "interrupted"


def test_a_run_stops_when_its_parent_is_killed(tmp_path: Path) -> None:
    candidates = groups([5] * 400, tmp_path / "in.parquet")
    output = tmp_path / "out"
    with service("--latency-ms", "50") as slow:
        options = map(str, (*slow.options, "--max-in-flight", "2", "--no-progress"))
        command = [sys.executable, "-m", "jobs", "run", str(candidates), str(output), *options]
        given = json.dumps([command, environment(**{STOP_WITH_PARENT: "1"})])
        parent = subprocess.Popen([sys.executable, "-c", LAUNCHER, given], cwd=ROOT)
        wait_until(lambda: slow.answers() > 3)
        parent.kill()
        parent.wait()
        killed_at = time.monotonic()
        wait_until(lambda: not is_held(locate(str(output))))
        took_s = time.monotonic() - killed_at
        again = rerank("run", candidates, output, *slow.options, "--json")

    assert took_s < 5
    assert again.code == 0, again.err
    assert again.facts["requests"] + again.facts["requests_reused"] == 400
    assert again.facts["requests_reused"] > 0


@pytest.mark.parametrize("variables", [{}, {STOP_WITH_PARENT: ""}])
def test_without_that_an_end_of_input_means_nothing(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    candidates = groups([3], tmp_path / "in.parquet")

    ended = rerank(
        *("run", candidates, tmp_path / "out", "--provider", "emulator"),
        env=environment(**variables),
    )

    assert ended.code == 0
