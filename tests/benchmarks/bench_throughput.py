"""The job against its floor: CPU, throughput and memory beside a bare aiohttp + orjson loop.

Both read the same Parquet, send the same groups over loopback to the same nginx stub, and run in
turns, so that their ratio means something on a noisy machine. The floor does what must be done at
least: read, encode, send, decode, append a line. It has no limits, no retries, no store, no ranks.

    python tests/benchmarks/bench_throughput.py [--groups 10000] [--shape short|long|chinese|split]
"""

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]

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


@dataclass(frozen=True)
class Shape:
    """Groups of one kind: documents in a group, characters in a document, script."""

    documents: int
    characters: int
    script: str = "latin"


SHAPES = {
    "short": Shape(50, 380),
    "long": Shape(100, 1_000),
    "chinese": Shape(50, 380, "chinese"),
    "split": Shape(3_000, 380),
}


@dataclass
class Measure:
    """What one process took."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def make_dataset(path: Path, groups: int, shape: Shape) -> None:
    """Write groups of random words, every text of its own; rows of a query adjacent."""
    random.seed(7)
    if shape.script == "chinese":
        words = [
            "".join(chr(random.randint(0x4E00, 0x9FA5)) for _ in range(2)) for _ in range(4000)
        ]
        join = ""
    else:
        letters = "etaoinshrdlucmfwypvbgkjqxz"
        words = [
            "".join(random.choices(letters, range(26, 0, -1), k=random.randint(2, 9)))
            for _ in range(4_000)
        ]
        join = " "
    per_text = shape.characters // (sum(len(w) + len(join) for w in words) // len(words)) + 1
    schema = pa.schema(
        [
            ("query_id", pa.string()),
            ("query", pa.string()),
            ("doc_id", pa.string()),
            ("text", pa.string()),
            ("first_stage_score", pa.float64()),
        ]
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, groups, 100):
            columns: dict[str, list[object]] = {name: [] for name in schema.names}
            for group in range(start, min(start + 100, groups)):
                query = join.join(random.choices(words, k=6))
                for document in range(shape.documents):
                    columns["query_id"].append(f"q{group}")
                    columns["query"].append(query)
                    columns["doc_id"].append(f"d{group}-{document}")
                    columns["text"].append(join.join(random.choices(words, k=per_text)))
                    columns["first_stage_score"].append(1.0 / (document + 1))
            writer.write_table(pa.table(columns, schema=schema))


@contextmanager
def nginx_stub(folder: Path, documents: int) -> Iterator[str]:
    """An nginx that answers every POST with scores for `documents` documents."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    results = [
        {"index": i, "relevance_score": round(1 - i / (documents + 1), 6)} for i in range(documents)
    ]
    answer = json.dumps(
        {"output": {"results": results}, "usage": {"total_tokens": 5000}, "request_id": "stub"}
    )
    assert "'" not in answer
    assert "$" not in answer
    # nginx takes no string of more than 4 kB, but as many variables as one likes.
    pieces = [answer[start : start + 3_000] for start in range(0, len(answer), 3_000)]
    settings = " ".join(f"set $a{i} '{piece}';" for i, piece in enumerate(pieces))
    whole = "".join(f"${{a{i}}}" for i in range(len(pieces)))
    (folder / "nginx.conf").write_text(f"""
daemon off; pid {folder}/nginx.pid; error_log stderr crit; worker_processes 1;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_buffer_size 4m; client_max_body_size 64m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 100000000; default_type application/json;
  server {{ listen 127.0.0.1:{port}; location / {{ {settings} return 200 '{whole}'; }} }}
}}""")
    server = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)])
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if server.poll() is not None:
                raise SystemExit("nginx did not start")
        yield f"http://127.0.0.1:{port}/rerank"
    finally:
        server.terminate()
        server.wait()


def job_command(source: Path, output: Path, url: str) -> list[str]:
    """The job without a limit that binds."""
    quota = ("--requests-per-minute", "10000000", "--tokens-per-minute", "1e12")
    return [
        *(sys.executable, "-m", "jobs", "run", str(source), str(output), "--url", url),
        *(*quota, "--max-in-flight", "64", "--merge", "trust", "--no-progress"),
    ]


def measured(command: list[str]) -> Measure:
    """Run a process to its end; raises if it fails."""
    environment = {**os.environ, "DASHSCOPE_API_KEY": "sk-bench"}
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    if status:
        raise SystemExit(f"{command[:4]} failed with status {status}")
    cpu = usage.ru_utime + usage.ru_stime
    return Measure(wall, cpu, usage.ru_maxrss / 1024 if sys.platform == "linux" else 0.0)


def compare(groups: int, shape: Shape, rounds: int) -> dict[str, float]:
    """Floor and job in turns; the best of the rounds of each."""
    best: dict[str, Measure] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "candidates.parquet"
        make_dataset(source, groups, shape)
        per_request = min(shape.documents, 500)
        requests = groups * -(-shape.documents // per_request)
        with nginx_stub(folder, per_request) as url:
            floor = [
                sys.executable,
                "-c",
                FLOOR,
                str(source),
                url,
                str(folder / "floor.jsonl"),
                str(per_request),
            ]
            job = job_command(source, folder / "out", url)
            for _ in range(rounds):
                for label, command in (("floor", floor), ("job", job)):
                    shutil.rmtree(folder / "out", ignore_errors=True)
                    took = measured(command)
                    if label not in best or took.cpu_s < best[label].cpu_s:
                        best[label] = took
    floor_took, job_took = best["floor"], best["job"]
    return {
        "requests": requests,
        "floor_cpu_ms": 1e3 * floor_took.cpu_s / requests,
        "job_cpu_ms": 1e3 * job_took.cpu_s / requests,
        "cpu_ratio": job_took.cpu_s / floor_took.cpu_s,
        "floor_requests_per_s": requests / floor_took.wall_s,
        "job_requests_per_s": requests / job_took.wall_s,
        "throughput_ratio": floor_took.wall_s / job_took.wall_s,
        "floor_peak_mb": floor_took.peak_mb,
        "job_peak_mb": job_took.peak_mb,
    }


def main() -> None:
    """Measure one or all shapes and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, default=3_000)
    parser.add_argument("--shape", choices=list(SHAPES), default="short")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = compare(options.groups, SHAPES[options.shape], options.rounds)
    if options.json:
        print(json.dumps({"shape": options.shape, **result}))
        return
    for name, value in result.items():
        print(f"{name:22} {value:,.3f}")


if __name__ == "__main__":
    main()
