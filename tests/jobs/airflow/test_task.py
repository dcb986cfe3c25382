"""A command as a task: real commands against the emulator, without Airflow."""

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from support.real_runs import (
    KEY,
    SAMPLE,
    Service,
    environment,
    groups,
    last_record,
    rows_of,
    service,
    wait_until,
)

from jobs.airflow.command_line import KEY_VARIABLE, child_environment, run_words
from jobs.airflow.outcomes import TaskFailed
from jobs.airflow.task import CommandTask
from pipeline.core.providers import EMULATOR_PATH


class Recorded:
    """A log that keeps what it is told, as level and message."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []

    def log(self, level: int, message: str, /, *arguments: object) -> None:
        self.lines.append((level, message % arguments if arguments else message))

    @property
    def text(self) -> str:
        return "\n".join(message for _, message in self.lines)

    def of(self, level: int) -> list[str]:
        return [message for one, message in self.lines if one == level]


@pytest.fixture
def log() -> Recorded:
    return Recorded()


def run(task: CommandTask, *words: object, **secrets: str) -> dict[str, Any] | None:
    env = child_environment(environment(), str(words[0]), secrets)
    return task.run(sys.executable, [str(word) for word in words], env)


def rerank(
    task: CommandTask, source: Path, output: Path, at: Service, **options: Any
) -> dict[str, Any] | None:
    given = {"provider": "emulator", "url": at.address + EMULATOR_PATH, **options}
    return run(task, *run_words(str(source), str(output), given, has_key=False))


def test_the_summary_is_returned_and_the_log_is_passed_on(
    log: Recorded, tmp_path: Path, quick_service: Service
) -> None:
    source = groups([3, 4], tmp_path / "in.parquet")

    summary = rerank(CommandTask(log), source, tmp_path / "out", quick_service)

    assert summary is not None
    assert (summary["state"], summary["groups"]) == ("done", 2)
    first, *_, last = log.of(logging.INFO)
    assert first.startswith(f"Running {sys.executable} -P -m jobs run --json --log-format=json ")
    assert last.startswith("run.ended state=done groups=2 ")
    assert log.of(logging.WARNING) == []


def test_a_command_without_json_prints_to_the_log(log: Recorded, tmp_path: Path) -> None:
    source = groups([3, 4], tmp_path / "in.parquet")

    assert run(CommandTask(log), "plan", source) is None
    assert "queries     2" in log.text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("plan", "no.parquet"), 3, "no.parquet"),
        (("plan", "no.parquet", "--top-n", "0"), 2, "--top-n: impossible"),
        (("run", SAMPLE / "candidates.parquet", "out"), 2, "DASHSCOPE_API_KEY: no API key"),
    ],
)
def test_a_failure_tells_what_the_command_said(
    words: tuple[object, ...], code: int, said: str, log: Recorded
) -> None:
    with pytest.raises(TaskFailed, match=f"ended with exit {code} ") as failed:
        run(CommandTask(log), *words)

    assert said in str(failed.value)
    assert said in "\n".join(log.of(logging.ERROR))
    assert not failed.value.may_pass


def test_a_wrong_key_fails_at_once_and_is_nowhere_in_the_log(log: Recorded, tmp_path: Path) -> None:
    source = groups([3], tmp_path / "in.parquet")
    with service("--api-key", "another-key") as strict:
        given = {"provider": "dashscope", "url": strict.address + EMULATOR_PATH}
        words = run_words(str(source), str(tmp_path / "out"), given, has_key=True)
        with pytest.raises(TaskFailed, match="exit 4") as refused:
            run(CommandTask(log), *words, **{KEY_VARIABLE: KEY})

    assert not refused.value.may_pass
    assert KEY not in log.text + str(refused.value)


@pytest.fixture
def poisoned(tmp_path: Path) -> Path:
    return groups([3], tmp_path / "in.parquet", texts={(0, 1): "poison-pill"})


def test_rejects_fail_a_task_that_is_then_retried(
    log: Recorded, tmp_path: Path, poisoned: Path
) -> None:
    with service("--fault", "poison") as strict:
        with pytest.raises(TaskFailed, match="exit 7") as failed:
            rerank(CommandTask(log), poisoned, tmp_path / "out", strict)

    assert failed.value.may_pass


def test_rejects_may_be_a_warning(log: Recorded, tmp_path: Path, poisoned: Path) -> None:
    with service("--fault", "poison") as strict:
        task = CommandTask(log, allow_rejects=True)
        summary = rerank(task, poisoned, tmp_path / "out", strict)

    assert summary is not None
    assert (summary["state"], summary["rejected"]) == ("partial", 1)
    assert log.of(logging.WARNING) == ["The output lacks scores: too many were rejected"]
    assert len(rows_of(tmp_path / "out" / "_rejects")) == 1


def test_a_gate_that_fails_is_not_retried(
    log: Recorded, tmp_path: Path, quick_service: Service
) -> None:
    output = tmp_path / "out"
    rerank(CommandTask(log), SAMPLE / "candidates.parquet", output, quick_service)
    gate = ("--qrels", SAMPLE / "qrels.parquet", "--fail-under", "nDCG@10=0.9", "--json")

    with pytest.raises(TaskFailed, match=r"exit 10 \(the quality gate failed\)") as failed:
        run(CommandTask(log), "evaluate", output, *gate)

    assert not failed.value.may_pass


@pytest.fixture
def large(tmp_path: Path) -> Path:
    return groups([5] * 300, tmp_path / "in.parquet")


def killed_after(task: CommandTask, at: Service, answers: int) -> threading.Thread:
    """Kill the task once the service has given so many answers."""

    def kill() -> None:
        wait_until(lambda: at.answers() > answers)
        task.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    return killer


def test_a_killed_task_fails_in_a_way_that_is_retried_and_the_retry_goes_on(
    log: Recorded, tmp_path: Path, large: Path
) -> None:
    with service("--latency-ms", "30") as slow:
        task = CommandTask(log)
        killer = killed_after(task, slow, 20)
        with pytest.raises(TaskFailed, match=r"was stopped \(exit 143\)") as stopped:
            rerank(task, large, tmp_path / "out", slow, max_in_flight=4)
        killer.join()
        assert last_record(tmp_path / "out")["state"] == "interrupted"
        paid = slow.answers()

        summary = rerank(CommandTask(log), large, tmp_path / "out", slow)

        assert summary is not None
        assert (summary["state"], summary["requests_reused"]) == ("done", paid)
        assert slow.answers() == 300
    assert stopped.value.may_pass
    assert "interrupted, state saved" in "\n".join(log.of(logging.ERROR))
    assert "run.stopping" in "\n".join(log.of(logging.WARNING))


ENDS_IN_ORDER = f"""#!{sys.executable}
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready", file=sys.stderr, flush=True)
time.sleep(60)
"""


def test_a_command_that_ends_with_0_although_it_was_stopped_is_no_success(
    log: Recorded, tmp_path: Path
) -> None:
    program = tmp_path / "python"
    program.write_text(ENDS_IN_ORDER)
    program.chmod(0o755)
    task = CommandTask(log)

    def kill() -> None:
        wait_until(lambda: "ready" in log.text)
        task.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(TaskFailed, match=r"rerank run was stopped \(exit 0\)") as stopped:
        task.run(str(program), ["run"], os.environ)
    killer.join()

    assert stopped.value.may_pass


def _children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def _command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def test_a_task_that_is_killed_before_its_command_has_started_starts_no_work(
    log: Recorded, tmp_path: Path, large: Path, quick_service: Service
) -> None:
    task = CommandTask(log)
    task.kill()

    with pytest.raises(TaskFailed, match="was stopped"):
        rerank(task, large, tmp_path / "out", quick_service)


def test_a_run_that_is_killed_is_retried(log: Recorded, tmp_path: Path, large: Path) -> None:
    with service("--latency-ms", "30") as slow:

        def kill() -> None:
            wait_until(lambda: slow.answers() > 20)
            (run_of_task,) = (
                pid for pid in _children_of(os.getpid()) if str(tmp_path) in _command_line(pid)
            )
            os.kill(run_of_task, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(TaskFailed, match="killed by SIGKILL") as failed:
            rerank(CommandTask(log), large, tmp_path / "out", slow, max_in_flight=4)
        killer.join()

    assert failed.value.may_pass


def test_an_interpreter_that_does_not_exist_fails_at_once(log: Recorded) -> None:
    with pytest.raises(TaskFailed, match="/no/python cannot be started") as failed:
        CommandTask(log).run("/no/python", ["plan", "in"], {})

    assert not failed.value.may_pass


def test_a_retry_waits_for_the_run_of_the_task_that_was_killed(
    log: Recorded, tmp_path: Path, large: Path
) -> None:
    """Both are tasks on the same output at once: as if the first were left over."""
    first_log = Recorded()
    with service("--latency-ms", "20") as slow:
        left_over = threading.Thread(
            target=rerank,
            args=(CommandTask(first_log), large, tmp_path / "out", slow),
            kwargs={"max_in_flight": 8},
        )
        left_over.start()
        wait_until(lambda: slow.answers() > 5)

        summary = rerank(CommandTask(log), large, tmp_path / "out", slow)
        left_over.join()

        assert slow.answers() == 300

    assert summary is not None
    assert (summary["state"], summary["requests"]) == ("done", 0)
    assert any(line.startswith("output.busy ") for line in log.of(logging.WARNING))
