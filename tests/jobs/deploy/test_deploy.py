"""What runs the job every night: each file is checked as far as can be without its engine."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from support.markdown import blocks, read_page, section
from support.real_runs import ROOT, environment, groups, rows_of, service, wait_until

from jobs.airflow.outcomes import OUTCOMES
from pipeline.core.providers import EMULATOR_PATH

DEPLOY = ROOT / "jobs" / "deploy"
FINAL = {code for code, outcome in OUTCOMES.items() if not outcome.may_pass}
"""The exit codes that a retry cannot mend."""
NIGHT = "2026-11-29"
NOBODY = 65_534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def text_of(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a folder with `rerank` and `rerank-night`, as /opt/rerank/bin has them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    rerank = folder / "rerank"
    rerank.write_text(f'#!/bin/sh\nexec {sys.executable} -m jobs "$@"\n')
    rerank.chmod(0o755)
    shutil.copy(DEPLOY / "rerank-night.sh", folder / "rerank-night")
    return folder


def night(
    programs: Path, lake: Path, url: str, *, more: dict[str, str] | None = None, **how: Any
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [str(programs / "rerank-night"), NIGHT],
        env=environment(
            PATH=f"{programs}:/usr/bin:/bin",
            PYTHONDONTWRITEBYTECODE="1",
            **(more or {"PYTHONPATH": str(ROOT)}),
            CANDIDATES=str(lake / "in"),
            RERANKED=str(lake / "out"),
            RERANK_RUN_SCORE_STORE=str(lake / "scores"),
            RERANK_RUN_PROVIDER="emulator",
            RERANK_RUN_URL=url + EMULATOR_PATH,
            RERANK_RUN_MAX_IN_FLIGHT="4",
        ),
        cwd=lake,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **how,
    )


def lake_of(folder: Path, sizes: list[int]) -> Path:
    groups(sizes, folder / "in" / f"dt={NIGHT}" / "a.parquet")
    return folder


def test_the_entry_point_reranks_a_night(programs: Path, tmp_path: Path) -> None:
    lake = lake_of(tmp_path, [3, 4])
    with service() as quick:
        process = night(programs, lake, quick.address)
        out, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    assert '"state":"done"' in out
    assert len(rows_of(lake / "out" / f"dt={NIGHT}")) == 7
    assert (lake / "scores").exists()


def test_a_signal_to_the_entry_point_reaches_the_job(programs: Path, tmp_path: Path) -> None:
    lake = lake_of(tmp_path, [5] * 300)
    with service("--latency-ms", "30") as slow:
        process = night(programs, lake, slow.address)
        wait_until(lambda: slow.answers() > 10)
        process.terminate()
        _, err = process.communicate(timeout=60)

    assert process.returncode == 143
    assert "interrupted, state saved" in err


@needs("jq")
def test_the_log_of_a_night_is_read_as_documented(programs: Path, tmp_path: Path) -> None:
    lake = lake_of(tmp_path, [3, 4])
    with service() as quick:
        process = night(programs, lake, quick.address)
        _, log = process.communicate(timeout=60)
    page = section(read_page("jobs/README.md"), "Every night")
    commands = [
        shlex.split(line)
        for block in blocks(page, "")
        for line in block.splitlines()
        if "jq" in line
    ]

    read = [
        subprocess.run(command[:-1], input=log, capture_output=True, text=True, check=True).stdout
        for command in commands
    ]

    assert len(commands) == 4
    assert read[-1] == '{"requests":2,"cost_usd":' + read[-1].rpartition(":")[2]


def test_the_entry_point_needs_to_know_where_the_candidates_are(programs: Path) -> None:
    ended = subprocess.run(
        [programs / "rerank-night"], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )

    assert ended.returncode == 2
    assert "CANDIDATES: set it to the folder of the candidates" in ended.stderr


def python_of_nobody() -> str | None:
    """Return an interpreter that a user without rights may run, and that has what a run needs."""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            command = [python, "-c", "import pyarrow, polars, msgspec"]
            subprocess.run(command, env=variables_of_nobody(), user=NOBODY, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return None


def variables_of_nobody() -> dict[str, str]:
    return {"PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}", "HOME": "/nonexistent"}


@needs_root
def test_the_entry_point_runs_as_a_user_without_rights(programs: Path, tmp_path: Path) -> None:
    python = python_of_nobody()
    if python is None:
        pytest.skip("no interpreter that another user may run")
    (programs / "rerank").write_text(f'#!/bin/sh\nexec {python} -m jobs "$@"\n')
    with tempfile.TemporaryDirectory() as folder:
        lake = lake_of(Path(folder), [3, 4])
        shutil.copytree(programs, lake / "bin")
        lake.chmod(0o755)
        for name in ("out", "scores"):
            (lake / name).mkdir()
            os.chown(lake / name, NOBODY, NOBODY)
        with service() as quick:
            process = night(
                *(lake / "bin", lake, quick.address),
                user=NOBODY, group=NOBODY, extra_groups=[], more=variables_of_nobody(),
            )  # fmt: skip
            _, err = process.communicate(timeout=60)

        assert process.returncode == 0, err
        success = lake / "out" / f"dt={NIGHT}" / "_SUCCESS"
        assert success.stat().st_uid == NOBODY


@needs("shellcheck")
def test_the_entry_point_passes_shellcheck() -> None:
    checked = subprocess.run(
        ["shellcheck", DEPLOY / "rerank-night.sh"], capture_output=True, text=True
    )

    assert checked.returncode == 0, checked.stdout


@needs("systemd-analyze")
def test_the_units_of_systemd_are_valid(programs: Path, tmp_path: Path) -> None:
    units = tmp_path / "units"
    units.mkdir()
    for name in ("rerank-night.service", "rerank-night.timer"):
        unit = text_of(name).replace("/opt/rerank/bin", str(programs))
        (units / name).write_text(unit)

    command = ["systemd-analyze", "verify", "--man=no", *map(str, units.iterdir())]
    checked = subprocess.run(
        command, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}
    )

    ours = [line for line in checked.stderr.splitlines() if "rerank" in line]
    assert (checked.returncode, ours) == (0, []), checked.stderr


def test_systemd_does_not_start_again_what_a_retry_cannot_mend() -> None:
    (codes,) = re.findall(r"^RestartPreventExitStatus=(.*)$", text_of("rerank-night.service"), re.M)

    assert {int(code) for code in codes.split()} == FINAL


def cronjob() -> Any:
    return yaml.safe_load(text_of("cronjob.yaml"))


@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_the_cron_job_of_kubernetes_is_valid(version: str) -> None:
    kubernetes_validate.validate(cronjob(), version, strict=True)


def test_the_validation_of_the_cron_job_can_fail() -> None:
    job = cronjob()
    job["spec"]["jobTemplate"]["spec"]["backofLimit"] = 3

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.31", strict=True)


def test_kubernetes_fails_at_once_where_a_retry_cannot_help() -> None:
    job = cronjob()["spec"]["jobTemplate"]["spec"]
    fail, ignore = job["podFailurePolicy"]["rules"]

    assert (fail["action"], ignore["action"]) == ("FailJob", "Ignore")
    assert set(fail["onExitCodes"]["values"]) == FINAL
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # else the policy has no effect
    assert job["template"]["spec"]["terminationGracePeriodSeconds"] > 5


def test_every_variable_of_the_files_is_one_that_the_command_reads() -> None:
    from jobs.commands.run import run

    known = {f"RERANK_RUN_{name}" for name in (p.name or "" for p in run.params)}
    known = {name.upper() for name in known} | {"RERANK_RUN_JSON"}
    for name in ("rerank.env", "cronjob.yaml", "rerank-night.sh"):
        assert set(re.findall(r"RERANK_RUN_\w+", text_of(name))) <= known


def test_the_image_runs_the_job_itself_as_a_user_without_rights() -> None:
    lines = text_of("Dockerfile").splitlines()
    stages = [number for number, line in enumerate(lines) if line.startswith("FROM ")]
    final = lines[stages[-1] :]

    assert 'ENTRYPOINT ["rerank"]' in final
    assert "USER 10001:10001" in final
    assert cronjob()["spec"]["jobTemplate"]["spec"]["template"]["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for line in (line for line in lines if line.startswith("FROM ")):
        assert re.fullmatch(r"FROM python:\d\.\d+-slim( AS \w+)?", line)  # no host of a registry


def test_the_image_copies_what_exists_and_installs_extras_that_exist() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    copied = [
        word
        for line in text_of("Dockerfile").splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
        if not word.startswith("--")
    ]

    assert [name for name in copied if not (ROOT / name).exists()] == []
    (extras,) = re.findall(r"'\.\[(.*)\]'", text_of("Dockerfile"))
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_the_line_of_cron_has_the_user_and_one_command() -> None:
    (line,) = (line for line in text_of("rerank.cron").splitlines() if line[:1].isdigit())
    minute, hour, *every, user, command = line.split(maxsplit=6)

    assert (minute, hour, every, user) == ("0", "2", ["*", "*", "*"], "rerank")
    assert "%" not in command  # which cron reads as a line break
    if shutil.which("shellcheck"):
        checked = subprocess.run(
            ["shellcheck", "--shell=sh", "--exclude=SC1091", "-"],
            input=command, capture_output=True, text=True,
        )  # fmt: skip
        assert checked.returncode == 0, checked.stdout
