"""The state of a night is read from its log with jq, by the commands of the documentation."""

import shutil
import subprocess
from pathlib import Path

import pytest
from support.markdown import blocks, read_page, section
from support.real_runs import groups, rerank, service

PROGRAMS = next(
    block
    for block in blocks(section(read_page("jobs/README.md"), "Logs"), "")
    if block.startswith("jq ")
)


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_progress_and_problems_are_read_from_the_log(tmp_path: Path) -> None:
    given = groups([2] * 700, tmp_path / "in.parquet")
    log = tmp_path / "night.jsonl"
    with service("--requests-per-minute", 1_200, "--fault", "503=0.02") as limited:
        pace = ("--requests-per-minute", 1_200)
        ended = rerank("run", given, tmp_path / "out", *limited.options, *pace, "--log-file", log)
    assert ended.code == 0, ended.err

    shown = subprocess.run(
        ["bash", "-euc", PROGRAMS], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    progress, _, problems = shown.stdout.partition("{")
    first = progress.splitlines()[0].split()
    assert first[0].endswith("+00:00")
    assert 50 < float(first[1]) < 100
    assert first[2] == "%"
    assert 10 < float(first[3].removesuffix("/s")) <= 25
    assert first[4].startswith("$0.0")
    assert '"event": "request.retried"' in problems
    assert "run.progress" not in problems
