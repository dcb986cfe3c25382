"""A soak: an hour's worth of groups in ten minutes, through 5 % faults and three kills.

The service is an emulator in a process of its own: it fails requests in eight ways, and has no
quota. The job is killed (`kill -9`) after a quarter, a half and three quarters of the answers, and
each time the same command goes on. Once a second its memory and open files are read from /proc, on
Linux alone. In the end every file of the result is compared, byte by byte, with those of a run that
met neither faults nor kills.

With `--object-store` the output and its score store are on an object store that fails 5 % of its
calls and is down twice for 20 s.

    python tests/benchmarks/bench_soak.py [--object-store] [--groups N] [--minutes 10] [--json]
"""

import argparse
import contextlib
import json
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "benchmarks")]

from made_groups import Shape, make_dataset  # noqa: E402
from soaked_store import Place, soaked_place  # noqa: E402
from support.real_runs import (  # noqa: E402
    Service,
    end,
    killed,
    results,
    service,
    start,
)

HOUR_OF_GROUPS = 60 * 5_400
"""What the default quota of qwen3-rerank takes in an hour, a request for each group."""
SHAPE, LATENCY_MS = Shape(documents=5, characters=100), 50
FAULTS = {"502-html": 0.004, "truncated-json": 0.003, "missing-index": 0.003}
FAIL_RATE = 0.04
"""Another 4 % of 500, 503, and connections reset before and during the answer, 1 % each."""
GROUPS_PER_429 = HOUR_OF_GROUPS // 10
"""A single 429 after so many requests, one a minute; a share of them would tell a lower quota."""
BAD_ANSWERS = ("not_json", "incomplete_answer")
"""Codes of what the service counts as answered, and the job as a failure."""
MAX_ATTEMPTS = 8
"""With 5 of them, one soak in ten would meet a request that fails each time."""
MAX_IN_FLIGHT, OTHER_SOCKETS = 64, 8
"""Sockets in use come and go with the answers; others are the loop's, or are being closed."""
HEADROOM = 1.25
"""Of the pace over groups / minutes: for attempts that fail, four starts and the compaction."""
STORE_HEADROOM = 1.5
"""Also for two outages, and the waits until they are noticed to be over."""
KILLS, LOOK_S = (0.25, 0.5, 0.75), 1.0
STORE_GROUPS = HOUR_OF_GROUPS // 6
"""On an object store, where moto and the proxy before it take as much CPU as the job."""
FEW_LOOKS = 60
"""Memory takes some 15 s to settle, so growth in a run of fewer looks is told, but not judged."""
MAX_GROWTH, MAX_MB = 1.10, 300
WHOLE_S = 1_800.0  # which the run without faults and kills may take


class Row(NamedTuple):
    """A figure with its bar; `passed` is None where it is not judged."""

    name: str
    figure: str
    bar: str
    passed: bool | None


@dataclass
class Soak:
    """What was seen of the runs.

    Attributes:
        looks: For each run, once a second: resident MB, files open since the look before (a part
            that is just being written is not), sockets.
        peak_mb: The kernel's own peak of resident memory, over all runs.
        allowed: Answers that the kills may have lost: in flight, or not yet saved.
        stats: What the service counted.
        requests_after: Sent by one run more, over what is finished.
    """

    looks: list[list[tuple[float, int, int]]] = field(default_factory=list)
    peak_mb: float = 0.0
    kills: int = 0
    allowed: float = 0.0
    seconds: float = 0.0
    stats: dict[str, Any] = field(default_factory=dict)
    requests_after: int = 0
    _open: set[tuple[str, str]] = field(default_factory=set)

    def look_at(self, pid: int) -> None:
        """Read a process's memory and open files; nothing without /proc, or if it has ended."""
        proc, handles = Path("/proc") / str(pid), set()
        try:
            lines = (proc / "status").read_text().splitlines()
            for link in (proc / "fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                    handles.add((link.name, str(link.readlink())))
        except OSError:
            return
        sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
        if sizes:
            sockets = {handle for handle in handles if handle[1].startswith("socket:")}
            lasting, self._open = len(self._open & handles - sockets), handles
            self.looks[-1].append((int(sizes["VmRSS"]) / 1024, lasting, len(sockets)))
            self.peak_mb = max(self.peak_mb, int(sizes["VmHWM"]) / 1024)

    def watch(
        self,
        process: "subprocess.Popen[str]",
        running: Service,
        place: Place,
        *,
        num_groups: int,
        kill_at: float,
    ) -> bool:
        """Look at a run once a second, and kill it after a share of the answers.

        Returns:
            Whether it was killed.
        """
        self.looks.append([])
        while process.poll() is None:
            self.look_at(process.pid)
            looked_at, stats = time.monotonic(), running.stats()
            place.advance(answers(stats) / num_groups)
            if answers(stats) >= num_groups * kill_at:
                killed(process)
                unsaved_s = place.unsaved_s + time.monotonic() - looked_at
                self.allowed += stats["in_flight"] + unsaved_s * stats["peak_requests_per_second"]
                self.kills += 1
                print(f"killed after {answers(stats):,} answers", file=sys.stderr)
                return True
            time.sleep(LOOK_S)
        return False


def answers(stats: dict[str, Any]) -> int:
    """Return the number of requests answered with scores, invalid ones included."""
    return int(stats["by_status"].get("200", 0))


def run_soak(
    command: list[object], num_groups: int, running: Service, place: Place, log: TextIO
) -> Soak:
    """Run, kill and run again to the end; then once more, over what is finished."""
    soak, began = Soak(), time.monotonic()
    for share in (*KILLS, math.inf):
        process = start(*command, env=place.env, stderr=log)
        try:
            if not soak.watch(process, running, place, num_groups=num_groups, kill_at=share):
                break
        finally:
            process.kill()  # which does nothing to one that has ended
    ended = end(process)
    soak.seconds = time.monotonic() - began
    if ended.code or share < math.inf:
        last_lines = "\n".join(Path(log.name).read_text().splitlines()[-5:])
        raise SystemExit(f"exit {ended.code} after {soak.kills} kills:\n{last_lines}")
    soak.stats = running.stats()
    if code := end(start(*command, env=place.env, stderr=log)).code:
        raise SystemExit(f"one run more, over what is finished: exit {code}")
    soak.requests_after = running.requests() - soak.stats["requests"]
    return soak


def measure(folder: Path, groups: int, minutes: float, *, on_object_store: bool) -> list[Row]:
    """All rows of a soak of so many groups, paced to take at most so many minutes."""
    source, whole = folder / "in.parquet", folder / "whole"
    make_dataset(source, groups, SHAPE)
    faults = [f"{name}={rate}" for name, rate in FAULTS.items()]
    faults += [f"429-rate@{number}" for number in range(GROUPS_PER_429, groups, GROUPS_PER_429)]
    options = ["--latency-ms", LATENCY_MS, "--fail-rate", FAIL_RATE]
    options += [part for fault in faults for part in ("--fault", fault)]
    limits = ["--tokens-per-minute", 1e12, "--max-in-flight", MAX_IN_FLIGHT, "--no-progress"]
    limits += ["--max-attempts", MAX_ATTEMPTS, "--requests-per-minute"]
    with (
        soaked_place(folder, on_object_store=on_object_store) as place,
        (folder / "log").open("w+") as log,
        service(*options) as running,
    ):
        headroom = STORE_HEADROOM if on_object_store else HEADROOM
        paced = [*limits, headroom * groups / minutes, *running.options]
        soak = run_soak(["run", source, place.output, *paced], groups, running, place, log)
        output = place.fetch(folder / "fetched")
        log.seek(0)
        failures = Counter(line.rpartition(" code=")[2].strip() for line in log)
    print("the same without faults and kills", file=sys.stderr)
    with service() as running:
        unpaced = ["run", source, whole, *limits, 1e7, *running.options]
        if code := end(start(*unpaced, stderr=subprocess.DEVNULL), WHOLE_S).code:
            raise SystemExit(f"the run without faults: exit {code}")
    served = answers(soak.stats) - sum(failures[code] for code in BAD_ANSWERS)
    rows = rows_of_output(source, output, whole) + rows_of_cost(soak, served, groups, minutes)
    rows += [Row(name, figure, "", None) for name, figure in place.facts()]
    return rows + rows_of_process(soak, place)


def rows_of_output(source: Path, output: Path, whole: Path) -> list[Row]:
    """Nothing lost, everything ranked, the same bytes."""
    keys = [("query_id", "ascending"), ("doc_id", "ascending")]
    given = pq.read_table(source, columns=["query_id", "doc_id"])
    table = pa.concat_tables(pq.read_table(part) for part in sorted(output.glob("part-*")))
    is_whole = table.select(given.column_names).sort_by(keys).equals(given.sort_by(keys))
    is_whole &= table["query_id"].equals(given["query_id"])
    scored = np.isfinite(table["relevance_score"].to_numpy())
    ranks = np.resize(np.arange(1, SHAPE.documents + 1), len(table))
    wrong_ranks = int(np.sum(table["rank"].to_numpy() != ranks))
    soaked, expected = results(output), results(whole)
    names = soaked.keys() | expected.keys()
    unlike = sum(soaked.get(name) != expected.get(name) for name in names)
    missing = 1 - (output / "_SUCCESS").exists()
    return [
        Row("every candidate once, in its query", f"{len(table):,}", f"{len(given):,}", is_whole),
        Row("with a score", f"{scored.sum():,}", f"{len(given):,}", bool(scored.all())),
        Row("ranks that are not 1 to n", f"{wrong_ranks}", "0", wrong_ranks == 0),
        Row("_SUCCESS missing", f"{missing}", "0", not missing),
        Row("files unlike a run without faults", f"{unlike} of {len(names)}", "0", unlike == 0),
    ]


def rows_of_cost(soak: Soak, served: int, groups: int, minutes: float) -> list[Row]:
    """Return what the kills cost, and whether the soak was a valid one."""
    again, allowed, after = served - groups, int(soak.allowed), soak.requests_after
    failed, took = 1 - served / soak.stats["requests"], soak.seconds / 60
    return [
        Row(f"paid again after {soak.kills} kills", f"{again}", f"{allowed}", again <= allowed),
        Row("requests of one run more", f"{after}", "0", after == 0),
        Row("attempts that failed", f"{failed:.2%}", "4.5 to 5.5 %", 0.045 <= failed <= 0.055),
        Row(f"minutes for {groups:,} groups", f"{took:.2f}", f"{minutes:g}", took <= minutes),
    ]


def rows_of_process(soak: Soak, place: Place) -> list[Row]:
    """Memory and file handles of each run: the peak of its last third against its first's."""
    if not all(soak.looks):
        return [Row("memory, file handles", "not seen", "a /proc, as on Linux", None)]
    rows = [Row("peak memory, MB", f"{soak.peak_mb:.0f}", f"{MAX_MB}", soak.peak_mb <= MAX_MB)]
    for number, looks in enumerate(soak.looks, 1):
        third = -(-len(looks) // 3)
        first, last = (np.max(part, axis=0) for part in (looks[:third], looks[-third:]))
        memory_bar = MAX_GROWTH * first[0] + place.segment_mb
        bars = (memory_bar, first[1], max(first[2], MAX_IN_FLIGHT + OTHER_SOCKETS))
        for column, name in enumerate(("memory, MB", "open files", "sockets")):
            passed = bool(last[column] <= bars[column]) if len(looks) >= FEW_LOOKS else None
            figure = f"{first[column]:.0f} then {last[column]:.0f}"
            rows.append(Row(f"run {number}: {name}", figure, f"{bars[column]:.0f}", passed))
    return rows


def main() -> None:
    """Soak, and print a table or JSON; exit 1 if a bar fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, help="[default: an hour's worth, or a sixth of it]")
    parser.add_argument("--object-store", action="store_true", help="write to one that fails")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--folder", type=Path, help="keep all in this empty folder")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        on_object_store = options.object_store
        groups = options.groups or (STORE_GROUPS if on_object_store else HOUR_OF_GROUPS)
        folder = options.folder or Path(temporary)
        rows = measure(folder, groups, options.minutes, on_object_store=on_object_store)
    passed = all(row.passed is not False for row in rows)
    if options.json:
        figures = [row._asdict() for row in rows]
        print(json.dumps({"schema_version": 1, "passed": passed, "rows": figures}))
    else:
        for row in rows:
            verdict = {True: "ok", False: "FAILED", None: "not judged"}[row.passed]
            print(f"{row.name:36}{row.figure:>20}  (bar {row.bar})  {verdict}")
    sys.exit(not passed)


if __name__ == "__main__":
    main()
