"""The calls of the library, in a script, in a running loop, and interrupted."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipeline
from pipeline.api import calls
from pipeline.api.emulator_process import emulator_process, starting_emulator
from pipeline.core.providers import EMULATOR_PATH

ROOT = Path(__file__).parents[2]
QUERIES, DOCUMENTS = 5, 6


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with emulator_process() as address:
        yield address + EMULATOR_PATH


@pytest.fixture
def candidates(tmp_path: Path) -> Path:
    rows = [(query, document) for query in range(QUERIES) for document in range(DOCUMENTS)]
    table = pa.table(
        {
            "query_id": [f"q{query}" for query, _ in rows],
            "query": [f"what is number {query}" for query, _ in rows],
            "doc_id": [f"d{document}" for _, document in rows],
            "text": [f"number {query * document} is a number" for query, document in rows],
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def test_a_dataset_is_reranked_as_by_the_command(
    candidates: Path, tmp_path: Path, url: str
) -> None:
    by_command = tmp_path / "by-command"
    command = (sys.executable, "-m", "jobs", "run", candidates, by_command)
    options = ("--provider", "emulator", "--url", url, "--top-n", "3", "--no-progress")
    subprocess.run([*command, *options], check=True, cwd=ROOT, capture_output=True)

    summary = pipeline.rerank(candidates, tmp_path / "out", provider="emulator", url=url, top_n=3)

    assert (summary.state, summary.groups_done, summary.requests) == ("done", QUERIES, QUERIES)
    name = "part-00000.parquet"
    assert (tmp_path / "out" / name).read_bytes() == (by_command / name).read_bytes()


async def test_both_calls_work_in_a_running_loop(
    candidates: Path, tmp_path: Path, url: str
) -> None:
    first = await pipeline.arerank(candidates, tmp_path / "a", provider="emulator", url=url)
    second = pipeline.rerank(candidates, tmp_path / "b", provider="emulator", url=url)

    assert first.state == second.state == "done"


def test_the_emulator_is_started_if_no_address_is_given(candidates: Path, tmp_path: Path) -> None:
    assert pipeline.rerank(candidates, tmp_path / "out", provider="emulator").state == "done"


def test_progress_is_told_at_the_end_at_least(candidates: Path, tmp_path: Path, url: str) -> None:
    told = list[pipeline.RunSummary]()

    pipeline.rerank(
        candidates, tmp_path / "out", provider="emulator", url=url, progress=told.append
    )

    assert told[-1].state == "done"
    assert told[-1].groups_done == QUERIES


def test_a_failure_is_one_of_our_errors_with_its_exit_code(tmp_path: Path) -> None:
    with pytest.raises(pipeline.InputError) as raised:
        pipeline.rerank(tmp_path / "none.parquet", tmp_path / "out", provider="emulator")

    assert raised.value.exit_code == 3


@pytest.mark.parametrize("call", [pipeline.rerank, pipeline.plan])
def test_an_unknown_option_is_told_with_the_nearest_name(call, tmp_path: Path) -> None:
    places = (tmp_path, tmp_path / "out") if call is pipeline.rerank else (tmp_path,)

    with pytest.raises(pipeline.SettingsError, match=r"topn: no such option; did you mean top_n\?"):
        call(*places, topn=3)


@pytest.mark.parametrize("value", [None, 3, "", b"out", ["in.parquet"]])
def test_what_is_no_path_names_no_folder(
    value: Any, candidates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())

    with pytest.raises(pipeline.SettingsError, match="output: not a path"):
        pipeline.rerank(candidates, value, provider="emulator")
    with pytest.raises(pipeline.SettingsError, match="input: not a path"):
        pipeline.rerank(value, tmp_path / "out", provider="emulator")
    with pytest.raises(pipeline.SettingsError, match="input: not a path"):
        pipeline.plan(value)

    assert set(tmp_path.iterdir()) == before


def test_a_plan_needs_neither_key_nor_service(
    candidates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DASHSCOPE_API_KEY", raising=False)

    plan = pipeline.plan(candidates)

    assert (plan.groups, plan.candidates, plan.requests) == (QUERIES, QUERIES * DOCUMENTS, QUERIES)
    assert plan.cost_usd > 0


def test_summaries_and_plans_are_shown_as_text_and_as_a_table(candidates: Path) -> None:
    plan = pipeline.plan(candidates)

    assert f"groups                 {QUERIES}" in str(plan)
    assert f"<th style='text-align:left'>groups</th><td>{QUERIES}</td>" in plan._repr_html_()
    assert "<b>" not in pipeline.RunSummary(bound_by="<b>")._repr_html_()


INTERRUPTED = """
import os, signal, sys
import pipeline

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it

def interrupt(summary, sent=[]):
    if not sent:
        sent.append(True)
        os.kill(os.getpid(), signal.SIGINT)

try:
    pipeline.rerank(
        sys.argv[1], sys.argv[2], provider="emulator", url=sys.argv[3],
        max_in_flight=1, progress=interrupt, progress_every_s=0.2,
    )
except pipeline.Interrupted as error:
    sys.exit(error.exit_code)
"""


def test_ctrl_c_ends_a_call_in_order(tmp_path: Path, candidates: Path) -> None:
    with emulator_process("--latency-ms", "1000") as address:
        ended = subprocess.run(
            (
                sys.executable,
                "-c",
                INTERRUPTED,
                candidates,
                tmp_path / "out",
                address + EMULATOR_PATH,
            ),
            cwd=ROOT,
            capture_output=True,
            text=True,
        )

    assert ended.returncode == 130, ended.stderr


INTERRUPTED_EARLY = """
import os, signal, sys
from contextlib import contextmanager
import pipeline
from pipeline.api import calls

signal.signal(signal.SIGINT, signal.default_int_handler)
start = calls.starting_emulator

@contextmanager
def interrupted():
    os.kill(os.getpid(), signal.SIGINT)
    with start("--latency-ms", "1000") as address:
        yield address

calls.starting_emulator = interrupted
try:
    pipeline.rerank(sys.argv[1], sys.argv[2], provider="emulator", max_in_flight=1)
except pipeline.Interrupted as error:
    sys.exit(error.exit_code)
"""


def test_ctrl_c_before_the_run_has_begun_ends_it_too(tmp_path: Path, candidates: Path) -> None:
    ended = subprocess.run(
        (sys.executable, "-c", INTERRUPTED_EARLY, candidates, tmp_path / "out"),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 130, ended.stderr


AT_A_CALL = """
import signal, sys
import pipeline

number = getattr(signal, sys.argv[5])

def time_out(*_):
    raise TimeoutError("the program's own")

def interrupt(frame, event, argument):
    if event == "call" and frame.f_code.co_name == sys.argv[4]:
        sys.setprofile(None)
        signal.raise_signal(number)

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGALRM, time_out)
sys.setprofile(interrupt)
try:
    print(pipeline.rerank(sys.argv[1], sys.argv[2], provider="emulator", url=sys.argv[3]).state)
except BaseException as error:
    print(type(error).__name__)
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
"""A signal when the main thread calls a function of this name for the first time."""


def at_a_call(function: str, number: str, *arguments: object) -> list[str]:
    ended = subprocess.run(
        (sys.executable, "-c", AT_A_CALL, *map(str, arguments), function, number),
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.stderr in ("", "run.stopping signal=2\n")
    return ended.stdout.split()


@pytest.mark.parametrize(
    ("number", "error"), [("SIGINT", "Interrupted"), ("SIGALRM", "TimeoutError")]
)
@pytest.mark.parametrize("function", ["submit", "_adjust_thread_count", "start", "result"])
def test_a_signal_ends_a_call_at_any_moment(
    function: str, number: str, error: str, tmp_path: Path, candidates: Path
) -> None:
    """Answers would take ten minutes; those in flight get four seconds."""
    with emulator_process("--latency-ms", "600000") as address:
        url = address + EMULATOR_PATH
        told = at_a_call(function, number, candidates, tmp_path / "out", url)

    assert told == [error, "True"]


def test_ctrl_c_when_the_run_is_done_is_told(tmp_path: Path, candidates: Path, url: str) -> None:
    """A program that calls again and again would go on otherwise."""
    told = at_a_call("shutdown", "SIGINT", candidates, tmp_path / "out", url)

    assert told == ["Interrupted", "True"]
    assert (tmp_path / "out" / "_SUCCESS").exists()


async def test_a_call_that_is_cancelled_at_its_start_leaves_no_emulator(
    tmp_path: Path, candidates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = list[str]()

    @contextmanager
    def cancelled() -> Iterator[Callable[[], str]]:
        try:
            with starting_emulator() as address:
                call.cancel()
                yield address
        finally:
            ended.append("the emulator")

    monkeypatch.setattr(calls, "starting_emulator", cancelled)
    call = asyncio.create_task(pipeline.arerank(candidates, tmp_path / "out", provider="emulator"))
    with pytest.raises(asyncio.CancelledError):
        await call

    assert ended == ["the emulator"]


async def test_a_cancelled_call_ends(tmp_path: Path, candidates: Path) -> None:
    begun = asyncio.Event()
    with emulator_process("--latency-ms", "60000") as address:
        call = asyncio.create_task(
            pipeline.arerank(
                candidates,
                tmp_path / "out",
                provider="emulator",
                url=address + EMULATOR_PATH,
                progress=lambda _: begun.set(),
                progress_every_s=0.1,
            )
        )
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
