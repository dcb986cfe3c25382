"""A signal stops a run in order: nothing more is sent, and what is paid for is saved."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import Popen

import pytest
from support.fake_reranker import FakeReranker
from support.group_world import make_settings
from support.real_runs import Ended, end, groups, last_record, start, wait_until

from pipeline.core.errors import Interrupted
from pipeline.dataset.rerank import DatasetRun
from pipeline.dataset.session import Session
from pipeline.source.source import CheckedIds, Source

SIGNALS = [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
IN_FLIGHT = 16


async def reached(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    """Wait until the condition holds, while the service in this event loop runs."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # the event is in another process
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(fake: FakeReranker, given: Path, *options: object) -> AsyncIterator["Popen[str]"]:
    """Start a run against the service, and kill it if the test ends first."""
    address = ("--provider", "emulator", "--url", fake.url)
    process = start("run", given, given.with_name("out"), *address, "--no-progress", *options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        await asyncio.to_thread(process.communicate)


async def ended(process: "Popen[str]") -> Ended:
    return await asyncio.to_thread(end, process)


async def run_again(given: Path) -> int:
    """Run again, and return how many requests that took."""
    async with FakeReranker() as fake, running(fake, given) as process:
        assert (await ended(process)).code == 0
        return len(fake.calls)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
async def test_no_request_is_sent_after_a_signal_and_what_was_paid_is_saved(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    """Twenty answers a second arrive, and without the signal a request would follow each."""
    given = groups([2] * 100, tmp_path / "in.parquet")
    loop = asyncio.get_running_loop()
    async with FakeReranker(latency_s=1) as fake:
        async with running(fake, given, "--requests-per-minute", 1_200) as process:
            await reached(lambda: len(fake.calls) >= 35)
            process.send_signal(number)
            asked = loop.time()
            left = await ended(process)
            took_s = loop.time() - asked
        paid = len(fake.calls)

    assert left.code == code
    assert "interrupted, state saved" in left.failure
    assert 0.5 < took_s < 5
    assert [call.at - asked for call in fake.calls if call.at > asked + 0.3] == []
    assert last_record(tmp_path / "out")["state"] == "interrupted"
    assert last_record(tmp_path / "out")["requests"] == paid
    assert paid + await run_again(given) == 100


@pytest.mark.parametrize(("number", "code"), SIGNALS)
async def test_a_service_that_hangs_does_not_delay_the_end(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    given = groups([2] * 100, tmp_path / "in.parquet")
    loop = asyncio.get_running_loop()
    async with FakeReranker(*[200] * 30, *["hang"] * 100) as fake:
        async with running(fake, given, "--max-in-flight", IN_FLIGHT) as process:
            await reached(lambda: len(fake.calls) == 30 + IN_FLIGHT)
            process.send_signal(number)
            asked = loop.time()
            left = await ended(process)
            took_s = loop.time() - asked
        fake.release()

    assert left.code == code
    assert took_s < 5
    assert len(fake.calls) == 30 + IN_FLIGHT
    assert "interrupted" in left.failure
    assert await run_again(given) == 70


async def test_a_second_signal_exits_at_once(tmp_path: Path) -> None:
    given = groups([2] * 100, tmp_path / "in.parquet")
    loop = asyncio.get_running_loop()
    async with FakeReranker(*[200] * 30, *["hang"] * 100) as fake:
        async with running(fake, given, "--max-in-flight", IN_FLIGHT) as process:
            await reached(lambda: len(fake.calls) == 30 + IN_FLIGHT)
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            line = await asyncio.to_thread(process.stderr.readline)
            process.send_signal(signal.SIGINT)
            asked = loop.time()
            left = await ended(process)
            took_s = loop.time() - asked
        fake.release()

    assert "run.stopping signal=15" in line
    assert left.code == 130
    assert "interrupted again" in left.failure
    assert took_s < 1
    assert await run_again(given) == 70


async def test_a_fatal_refusal_lets_what_is_in_flight_arrive(tmp_path: Path) -> None:
    """The other requests in flight at the refusal are paid, and answered 0.3 s later."""
    given = groups([2] * 100, tmp_path / "in.parquet")
    async with FakeReranker(*[200] * 30, 401, latency_s=0.3) as fake:
        async with running(fake, given, "--max-in-flight", IN_FLIGHT) as process:
            left = await ended(process)
        paid = len(fake.calls) - 1

    assert left.code == 4
    assert last_record(tmp_path / "out")["requests"] == paid
    assert paid + await run_again(given) == 100


async def test_a_run_that_waits_for_the_output_can_be_stopped(tmp_path: Path) -> None:
    given = groups([2] * 3, tmp_path / "in.parquet")
    async with FakeReranker(*["hang"] * 10) as fake, running(fake, given):
        await reached(lambda: len(fake.calls) == 3)
        async with running(fake, given, "--lock-wait", 600) as waiting:
            assert waiting.stderr is not None
            line = await asyncio.to_thread(waiting.stderr.readline)
            waiting.send_signal(signal.SIGTERM)
            left = await ended(waiting)
        fake.release()

    assert "output.busy waiting_up_to_s=600.0 holder=process" in line

    assert left.code == 143
    assert "interrupted" in left.failure


async def test_a_run_waits_for_a_busy_output_with_lock_wait(tmp_path: Path) -> None:
    given = groups([2] * 3, tmp_path / "in.parquet")
    async with FakeReranker(*["hang"] * 3) as fake, running(fake, given) as owner:
        await reached(lambda: len(fake.calls) == 3)
        async with running(fake, given, "--lock-wait", 600) as waiting:
            assert waiting.stderr is not None
            line = await asyncio.to_thread(waiting.stderr.readline)
            fake.release()
            first, second = await ended(owner), await ended(waiting)

    assert "output.busy" in line
    assert (first.code, second.code) == (0, 0)
    assert len(fake.calls) == 3


@pytest.mark.parametrize(("number", "code"), SIGNALS)
async def test_a_signal_while_libraries_are_imported_ends_the_command(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    """The signal comes as soon as numpy is mapped into memory."""
    given = groups([2] * 3, tmp_path / "in.parquet")
    async with FakeReranker() as fake, running(fake, given) as process:
        await asyncio.to_thread(wait_until, lambda: "numpy" in _maps(process), poll_s=0)
        process.send_signal(number)
        left = await ended(process)

    assert left.code == code
    assert "interrupted" in left.failure
    assert fake.calls == []


def _maps(process: "Popen[str]") -> str:
    return Path(f"/proc/{process.pid}/maps").read_text()


async def test_a_stop_ends_the_check_of_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()

    def check_ids(source: Source, stopped: Callable[[], bool]) -> CheckedIds:
        begun.set()
        while not stopped():
            begun.wait()
        ended.set()
        return CheckedIds(0, 0)

    monkeypatch.setattr(Source, "check_ids", check_ids)
    given = groups([1] * 3, tmp_path / "in.parquet")
    async with Session(make_settings()) as session:
        run = DatasetRun(session, str(given), str(tmp_path / "out"))
        running = asyncio.create_task(run.run())
        await asyncio.to_thread(begun.wait)

        run.stop(signal.SIGTERM)
        with pytest.raises(Interrupted):
            await running

    assert await asyncio.to_thread(ended.wait, 30)
    assert last_record(tmp_path / "out")["state"] == "interrupted"
