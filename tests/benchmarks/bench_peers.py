"""The job beside other tools that can do part of its work, against one stub, in one run.

Speed without limits; a hard quota of 100 requests a second; `kill -9` half way and the same command
again. Each peer runs in an environment of its own, made on first use from the package registry, and
is told to send nothing home; the adapters and the stub are in `peers/`. Rates differ by tens of
per cent from run to run on a shared machine; losses and what is paid again do not.

    python tests/benchmarks/bench_peers.py [--peers job,saturate] [--environments DIR] [--json]
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bench_throughput import SHAPES
from made_groups import make_dataset
from measuring_runs import ROOT
from peers.contestants import CONTESTANTS, UNLIMITED, Contestant, Job, Unavailable, python_of
from peers.measure import Service, Took, run, running_service
from peers.results import Row, document, markdown, num_scored

SHAPE = SHAPES["short"]
PER_S = 100
START_UP_GROUPS = 64
NOTHING_SENT_HOME = {
    "ANONYMIZED_TELEMETRY": "False",
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
    "CURATOR_VIEWER": "0",
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OTEL_SDK_DISABLED": "true",
    "TELEMETRY_ENABLED": "false",
}
KEPT = ("PATH", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
KEYS = ("DASHSCOPE_API_KEY", "OPENAI_API_KEY")


class Failed(Exception):
    """A contestant did not do what a test asks; the message says what it did."""


@dataclass
class Bench:
    """The tests, on one machine, one service, one folder."""

    service: Service
    folder: Path
    limit_s: float
    groups: int
    quota_groups: int

    def __post_init__(self) -> None:
        for groups in {START_UP_GROUPS, self.groups, self.quota_groups}:
            make_dataset(self._source(groups), groups, SHAPE)

    def measure(self, contestant: Contestant, python: str) -> Row:
        """All tests that the contestant takes; one that fails leaves a note."""
        row = Row(contestant, notes=dict(contestant.remarks))
        for name, test in (("speed", self._speed), ("quota", self._quota), ("kill", self._kill)):
            if name in contestant.tests:
                print(f"{contestant.name}: {name}", file=sys.stderr)
                with self._output() as output:
                    try:
                        row.figures |= test(contestant, python, output)
                    except Failed as failure:
                        remark = row.notes.get(name)
                        row.notes[name] = f"{remark}; {failure}" if remark else str(failure)
                        self._tell_log(contestant)
        return row

    def _speed(self, contestant: Contestant, python: str, output: Path) -> dict[str, float]:
        for attempt in ("first", "second"):  # the first finds nothing compiled, nothing cached
            small = self._run(contestant, python, output / attempt, START_UP_GROUPS)
            self._must_end(small)
        self.service.reset()
        took = self._run(contestant, python, output / "whole", self.groups)
        self._must_end(took)
        counts = self.service.counts()
        if lost := self.groups - num_scored(output / "whole", SHAPE.documents):
            raise Failed(f"{lost:,} groups were lost without any limit")
        return {
            "requests_per_s": counts.answered / counts.active_s,
            "cpu_ms": 1e3 * (took.cpu_s - small.cpu_s) / (self.groups - START_UP_GROUPS),
            "start_up_cpu_s": small.cpu_s,
            "took_s": took.wall_s,
            "peak_mb": took.peak_mb,
            "most_in_flight": counts.most_in_flight,
        }

    def _quota(self, contestant: Contestant, python: str, output: Path) -> dict[str, float]:
        self.service.reset(PER_S)
        per_minute = 60 * PER_S * contestant.told
        took = self._run(contestant, python, output, self.quota_groups, per_minute)
        counts = self.service.counts()
        lost = self.quota_groups - num_scored(output, SHAPE.documents)
        if not took.in_time or took.status:
            self._must_end(took, f"; {counts.answered} paid, {counts.throttled} 429s, {lost} lost")
        return {"lost": lost, "throttled": counts.throttled, "active_s": counts.active_s}

    def _kill(self, contestant: Contestant, python: str, output: Path) -> dict[str, float]:
        self.service.reset()
        half = (self.service, self.groups // 2)
        took = self._run(contestant, python, output, self.groups, kill_after=half)
        if not took.in_time or took.status >= 0:
            self._must_end(took, " before it was killed")
            raise Failed("was done before it could be killed")
        at_kill = self.service.counts().answered
        self._must_end(self._run(contestant, python, output, self.groups))
        counts = self.service.counts()
        if lost := self.groups - num_scored(output, SHAPE.documents):
            raise Failed(f"{lost:,} groups were lost after a kill")
        return {"paid_at_kill": at_kill, "paid_again": counts.answered - counts.groups}

    def _run(
        self,
        contestant: Contestant,
        python: str,
        output: Path,
        groups: int,
        per_minute: int = UNLIMITED,
        kill_after: tuple[Service, int] | None = None,
    ) -> Took:
        output.mkdir(parents=True, exist_ok=True)
        job = Job(
            python=python,
            source=self._source(groups),
            output=output,
            url=self.service.url,
            per_minute=per_minute,
        )
        return run(
            contestant.command(job),
            {name: os.environ[name] for name in KEPT if name in os.environ}
            | NOTHING_SENT_HOME
            | dict.fromkeys(KEYS, "sk-bench")
            | {"HOME": str(self.folder)},
            folder=ROOT,
            log=self._log(contestant),
            limit_s=self.limit_s,
            kill_after=kill_after,
        )

    def _must_end(self, took: Took, more: str = "") -> None:
        if not took.in_time:
            raise Failed(f"did not end in {self.limit_s:g} s{more}")
        if took.status:
            raise Failed(f"ended with {took.status}{more}")

    def _log(self, contestant: Contestant) -> Path:
        return self.folder / f"{contestant.key}.log"

    def _tell_log(self, contestant: Contestant) -> None:
        for line in self._log(contestant).read_text(errors="replace").splitlines()[-5:]:
            print(line[:200], file=sys.stderr)

    def _source(self, groups: int) -> Path:
        return self.folder / f"{groups}.parquet"

    @contextmanager
    def _output(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True) as name:
            yield Path(name) / "out"


def main() -> None:
    """Measure the contestants one after the other and print a table, or JSON."""
    keys = list(dict.fromkeys(contestant.key for contestant in CONTESTANTS))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=lambda text: text.split(","), default=keys)
    parser.add_argument("--groups", type=int, default=2_000)
    parser.add_argument("--quota-groups", type=int, default=800)
    parser.add_argument("--limit", type=float, default=120, help="seconds for each process")
    parser.add_argument(
        "--environments", type=Path, default=Path(tempfile.gettempdir(), "rerank-peers")
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if unknown := set(options.peers) - set(keys):
        parser.error(f"--peers takes {', '.join(keys)}, not {', '.join(sorted(unknown))}")
    if options.groups <= START_UP_GROUPS:
        parser.error(f"--groups must be more than {START_UP_GROUPS}")
    chosen = [contestant for contestant in CONTESTANTS if contestant.key in options.peers]
    rows = []
    with tempfile.TemporaryDirectory() as name, running_service() as service:
        bench = Bench(service, Path(name), options.limit, options.groups, options.quota_groups)
        for contestant in chosen:
            try:
                python = python_of(contestant, options.environments)
            except Unavailable as reason:
                rows.append(Row(contestant, notes=dict.fromkeys(contestant.tests, str(reason))))
            else:
                rows.append(bench.measure(contestant, python))
    settings = {"groups": options.groups, "quota_groups": options.quota_groups}
    print(document(settings, rows) if options.json else markdown(rows))


if __name__ == "__main__":
    main()
