"""The job against its floor: CPU, throughput and memory beside a bare aiohttp + orjson loop.

Both read the same Parquet, send the same groups over loopback to the same nginx stub, 64 in flight,
and run in turns: floor, job, floor, job. CPU (user and system) and wall time are those of the whole
process, its start among them, and each is the median of its rounds. A ratio is the median of those
of single rounds: a machine that is shared grows slower and quicker by a third within a minute, and
so do both halves of a round. A peak is the highest of the rounds. Figures of two runs of this
benchmark do not compare, but ratios do, within a tenth.

The floor does what must be done at least: read, encode, send, decode, append a line. It has no
limits, retries, store or ranks. Groups of `split` take several requests, and the job is told to
trust that their scores compare: no anchors, no final request, no linking, so both send the same.
What merging costs on top is told by `make bench-merging`.

    python bench_throughput.py [--shape short ...] [--groups N] [--rounds N] [--json]
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from made_groups import Shape, make_dataset
from measuring_runs import Bar, job_command, measured, measured_job
from nginx_stub import nginx_stub
from peers.measure import Took

FLOOR = """
import asyncio, sys, aiohttp, orjson, uvloop
import pyarrow.parquet as pq

async def main(source, url, out):
    slots = asyncio.Semaphore(64)
    with open(out, "wb") as sink:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session:
            async def rerank(query_id, query, doc_ids, texts):
                body = orjson.dumps({"model": "m", "input": {"query": query, "documents": texts},
                                     "parameters": {"top_n": len(texts)}})
                async with session.post(url, data=body) as response:
                    answer = orjson.loads(await response.read())
                results = answer["output"]["results"]
                sink.write(orjson.dumps([query_id, [(doc_ids[r["index"]], r["relevance_score"])
                                                    for r in results]]) + b"\\n")
                slots.release()
            async with asyncio.TaskGroup() as tasks:
                size = int(sys.argv[4])
                for batch in pq.ParquetFile(source).iter_batches(size * 20):
                    rows = batch.to_pydict()
                    for start in range(0, batch.num_rows, size):
                        await slots.acquire()
                        stop = start + size
                        tasks.create_task(rerank(
                            rows["query_id"][start], rows["query"][start],
                            rows["doc_id"][start:stop], rows["text"][start:stop]))

asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main(*sys.argv[1:4]))
"""

SHAPES = {
    "short": Shape(50, 380),
    "long": Shape(100, 1_000),
    "split": Shape(3_000, 380),
    "chinese": Shape(50, 380, "chinese"),
    "tiny": Shape(10, 100),
}
GROUPS = {"short": 10_000, "long": 2_000, "split": 200, "chinese": 2_000, "tiny": 20_000}
"""So that a file stays below 500 MB, and a run takes some seconds."""
MAX_DOCUMENTS = 500
"""In a request of the job, by the limits of its default model."""
ROUNDS = {"short": 15}
OTHER_ROUNDS = 5
MAX_CPU_RATIO = {"short": 1.2, "long": 1.15, "split": 3.0, "chinese": 1.25, "tiny": 1.5}
MIN_THROUGHPUT_RATIO = {"short": 0.9, "long": 0.95, "split": 0.35, "chinese": 0.8, "tiny": 0.7}
MAX_PEAK_MB = 300.0
SAME_REQUESTS = 0.05
"""Counts of requests may differ by this share, or the two did not do the same."""


@dataclass(frozen=True, slots=True)
class Side:
    """What the floor or the job took: medians of its rounds, the highest of the peaks."""

    requests: int
    cpu_ms_per_request: float
    requests_per_s: float
    peak_mb: float

    @classmethod
    def of(cls, requests: int, rounds: Sequence[Took]) -> "Side":
        return cls(
            requests=requests,
            cpu_ms_per_request=1e3 * median(took.cpu_s for took in rounds) / requests,
            requests_per_s=requests / median(took.wall_s for took in rounds),
            peak_mb=max(took.peak_mb for took in rounds),
        )


@dataclass(frozen=True, slots=True)
class Row:
    """Both sides on groups of one shape; ratios are the job's figures by the floor's, a request."""

    shape: str
    groups: int
    rounds: int
    floor: Side
    job: Side
    cpu_ratio: float
    throughput_ratio: float

    def bars(self) -> list[Bar]:
        """Return the bars."""
        name, cpu = self.shape, MAX_CPU_RATIO[self.shape]
        fastest = MIN_THROUGHPUT_RATIO[self.shape]
        return [
            Bar(f"{name}: CPU a request, x the floor", self.cpu_ratio, at_most=cpu),
            Bar(f"{name}: requests/s, x the floor", self.throughput_ratio, at_least=fastest),
            Bar(f"{name}: peak MB", self.job.peak_mb, at_most=MAX_PEAK_MB),
        ]

    def as_json(self) -> dict[str, object]:
        bars = [bar.as_json() for bar in self.bars()]
        return {**asdict(self), **asdict(SHAPES[self.shape]), "bars": bars}


def compare(name: str, groups: int, rounds: int) -> Row:
    """Floor and job in turns, on groups of one shape.

    Raises:
        SystemExit: if one of them fails, or if they do not send as many requests.
    """
    shape = SHAPES[name]
    size = min(shape.documents, MAX_DOCUMENTS)
    floor_took, job_took = list[Took](), list[Took]()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source, lines, output = folder / "in.parquet", folder / "floor.jsonl", folder / "out"
        make_dataset(source, groups, shape)
        with nginx_stub(folder, size) as url:
            floor_command = [sys.executable, "-c", FLOOR, str(source), url, str(lines), str(size)]
            command = job_command(source, output, url)
            for _ in range(rounds):
                floor_took.append(measured(floor_command, folder)[0])
                run = measured_job(command, folder)
                job_took.append(run.took)
                shutil.rmtree(output)
        with lines.open("rb") as answers:
            sent, by_job = sum(1 for _ in answers), run.facts["requests"]
    if abs(by_job / sent - 1) > SAME_REQUESTS:
        raise SystemExit(f"{name}: the floor sent {sent:,} requests, the job {by_job:,}")
    in_turns = list(zip(floor_took, job_took, strict=True))
    return Row(
        shape=name,
        groups=groups,
        rounds=rounds,
        floor=Side.of(sent, floor_took),
        job=Side.of(by_job, job_took),
        cpu_ratio=median(j.cpu_s / f.cpu_s for f, j in in_turns) * sent / by_job,
        throughput_ratio=median(f.wall_s / j.wall_s for f, j in in_turns) * by_job / sent,
    )


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table: of each figure the floor, the job and their ratio."""
    lines = [
        f"{'':8}{'':>8}{'':>10}{'CPU ms a request':>24}{'requests/s':>26}{'peak MB':>14}",
        f"{'shape':8}{'groups':>8}{'requests':>10}"
        f"{'floor':>10}{'job':>7}{'ratio':>7}{'floor':>12}{'job':>7}{'ratio':>7}"
        f"{'floor':>8}{'job':>6}",
    ]
    lines += [
        f"{row.shape:8}{row.groups:8,}{row.job.requests:10,}"
        f"{row.floor.cpu_ms_per_request:10.2f}{row.job.cpu_ms_per_request:7.2f}"
        f"{row.cpu_ratio:7.2f}"
        f"{row.floor.requests_per_s:12,.0f}{row.job.requests_per_s:7,.0f}"
        f"{row.throughput_ratio:7.2f}"
        f"{row.floor.peak_mb:8.0f}{row.job.peak_mb:6.0f}"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and print a table or JSON; exit 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=list(SHAPES), action="append", help="[default: all]")
    parser.add_argument("--groups", type=int, help="of each shape")
    parser.add_argument("--rounds", type=int, help="[default: 15 of short, 5 of others]")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for shape in options.shape or SHAPES:
        print(f"{shape}: floor and job in turns", file=sys.stderr)
        rounds = options.rounds or ROUNDS.get(shape, OTHER_ROUNDS)
        rows.append(compare(shape, options.groups or GROUPS[shape], rounds))
    bars = [bar for row in rows for bar in row.bars()]
    passed = all(bar.passed for bar in bars)
    if options.json:
        facts = {"schema_version": 1, "passed": passed}
        print(json.dumps({**facts, "shapes": [row.as_json() for row in rows]}))
    else:
        print("\n".join([table(rows), *(bar.as_line() for bar in bars)]))
    sys.exit(not passed)


if __name__ == "__main__":
    main()
