"""Runs of the job or of another program against a stub, with CPU, time and memory measured."""

import compileall
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from peers.measure import Took, run

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 3_600.0
IN_FLIGHT = 64


@dataclass(frozen=True, slots=True)
class JobRun:
    """One run of the job: what the process took, and what the job reports with `--json`."""

    took: Took
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure that is judged, by one of two limits."""

    name: str
    figure: float
    at_most: float = math.inf
    at_least: float = -math.inf

    @property
    def passed(self) -> bool:
        return self.at_least <= self.figure <= self.at_most

    def as_line(self) -> str:
        words = "at most" if self.at_most < math.inf else "at least"
        verdict = "ok" if self.passed else "MISSED"
        return f"{self.name} {self.figure:.4g}, {words} {self._limit:g}: {verdict}"

    def as_json(self) -> dict[str, object]:
        limit = {"at_most" if self.at_most < math.inf else "at_least": self._limit}
        return {"name": self.name, "figure": self.figure, **limit, "passed": self.passed}

    @property
    def _limit(self) -> float:
        return self.at_most if self.at_most < math.inf else self.at_least


def print_bars(bars: Sequence[Bar], *, as_json: bool) -> NoReturn:
    """Print all bars, and exit with 1 if one is missed."""
    if as_json:
        print(json.dumps({"schema_version": 1, "bars": [bar.as_json() for bar in bars]}))
    else:
        print("\n".join(bar.as_line() for bar in bars))
    sys.exit(not all(bar.passed for bar in bars))


def job_command(source: Path, output: Path, url: str, in_flight: int = IN_FLIGHT) -> list[str]:
    """Return the command of a run without a limiting quota and with `--merge trust`."""
    quota = ("--requests-per-minute", "10000000", "--tokens-per-minute", "1e12")
    return [
        *(sys.executable, "-m", "jobs", "run", str(source), str(output), "--url", url),
        *(*quota, "--max-in-flight", str(in_flight), "--merge", "trust", "--no-progress"),
    ]


def measured(command: Sequence[str], folder: Path) -> tuple[Took, list[str]]:
    """Run a process to its end: what it took, and the lines that it printed.

    Raises:
        SystemExit: if it fails, with its last line.
    """
    _compile()
    log = folder / "log"
    log.unlink(missing_ok=True)
    environment = {name: text for name, text in os.environ.items() if name[:7] != "RERANK_"}
    environment["DASHSCOPE_API_KEY"] = "sk-bench"
    took = run(command, environment, folder=ROOT, log=log, limit_s=LIMIT_S)
    lines = log.read_text(errors="replace").splitlines()
    if took.status or not took.in_time:
        why = f"status {took.status}" if took.in_time else f"not done after {LIMIT_S:g} s"
        raise SystemExit(f"{' '.join(command[1:4])[:60]}: {why}: {(lines or [''])[-1]}")
    return took, lines


def measured_job(command: Sequence[str], folder: Path) -> JobRun:
    """Run the job to its end; SystemExit as `measured` does, and if a candidate has no score."""
    took, lines = measured([*command, "--json"], folder)
    facts = next(json.loads(line) for line in reversed(lines) if line.startswith("{"))
    if facts["state"] != "done" or facts["rejected"] or facts["skipped"]:
        raise SystemExit(f"the job did not score every candidate: {json.dumps(facts)}")
    return JobRun(took, facts)


@cache
def _compile() -> None:
    """Have the byte code of the job ready, as it is where the job is installed by pip.

    Elsewhere Python makes it at the first start, or at each, if PYTHONDONTWRITEBYTECODE is set.
    """
    for package in ("pipeline", "jobs"):
        compileall.compile_dir(ROOT / package, quiet=1)
