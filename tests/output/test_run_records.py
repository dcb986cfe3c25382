"""The record of a run: kept up to date while it runs, and closed however it ends."""

import asyncio
import json
import logging
import os
import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import InputError, Interrupted, OutputFailed
from pipeline.output.run_records import (
    EndState,
    read_run_records,
    read_spent_usd,
    recorded_run,
)
from pipeline.storage.location import Location, locate

EXAMPLES = Path(__file__).parent / "examples"


@pytest.fixture
def output(tmp_path: Path) -> Location:
    return locate(str(tmp_path))


class Run:
    """A run whose numbers and clock the test sets."""

    def __init__(self, output: Location) -> None:
        self.output = output
        self.seconds = 1_800_000_000.0
        self.numbers: dict[str, Any] = {"requests": 0, "merge_status": {"empty": 1}}
        self.ended: list[EndState] = []
        self.is_partial = False

    async def run(self, body: Callable[[], None] = lambda: None) -> None:
        async with recorded_run(
            self.output,
            input_name="candidates.parquet",
            model="qwen3-rerank",
            snapshot=lambda: self.numbers,
            on_end=self.ended.append,
            is_partial=lambda: self.is_partial,
            clock=lambda: self.seconds,
        ):
            body()


async def test_a_record_says_running_until_the_run_ends(output: Location) -> None:
    run = Run(output)

    def body() -> None:
        (started,) = read_run_records(output)
        assert (started.state, started.requests, started.ended) == ("running", 0, None)
        assert (started.input, started.model) == ("candidates.parquet", "qwen3-rerank")
        run.numbers["requests"] = 9
        run.seconds += 10

    await run.run(body)

    (ended,) = read_run_records(output)
    assert (ended.state, ended.exit_code, ended.requests) == ("done", 0, 9)
    assert (ended.started, ended.ended) == (
        "2027-01-15T08:00:00+00:00",
        "2027-01-15T08:00:10+00:00",
    )
    assert run.ended == ["done"]


async def test_a_record_is_updated_while_the_run_goes_on(output: Location) -> None:
    updated = asyncio.Event()
    requests = 0

    def snapshot() -> dict[str, int]:
        nonlocal requests
        requests += 1
        if requests == 4:  # then the third write has ended
            updated.set()
        return {"requests": requests}

    async with recorded_run(
        output,
        input_name="",
        model="",
        snapshot=snapshot,
        on_end=lambda state: None,
        is_partial=lambda: False,
        update_s=0.001,
    ):
        await updated.wait()
        (record,) = read_run_records(output)

    assert (record.state, record.requests >= 3) == ("running", True)


@pytest.mark.parametrize(
    ("error", "state", "exit_code", "message"),
    [
        (InputError("no Parquet files", which="in"), "failed", 3, "in: no Parquet files"),
        (Interrupted(15), "interrupted", 143, "interrupted, state saved; "),
        (KeyError("x"), "failed", 1, "'x'"),
        (asyncio.CancelledError(), "failed", 1, "CancelledError"),
        (ExceptionGroup("", [ExceptionGroup("", [Interrupted(2)])]), "interrupted", 130, "inter"),
    ],
)
async def test_an_error_is_recorded_and_raised_as_it_is(
    output: Location, error: BaseException, state: EndState, exit_code: int, message: str
) -> None:
    def body() -> None:
        raise error

    run = Run(output)
    with pytest.raises(type(error)) as raised:
        await run.run(body)

    assert raised.value is error
    (record,) = read_run_records(output)
    assert (record.state, record.exit_code) == (state, exit_code)
    assert (record.error or "").startswith(message)
    assert run.ended == [state]


async def test_a_run_that_left_too_much_undone_is_partial(output: Location) -> None:
    run = Run(output)
    run.is_partial = True

    await run.run()

    (record,) = read_run_records(output)
    assert (record.state, record.exit_code) == ("partial", 7)


async def test_a_failed_write_is_logged_and_does_not_stop_the_run(
    output: Location, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(location: Location, _: bytes) -> None:
        raise OutputFailed("disk full", which=location.name)

    monkeypatch.setattr(Location, "publish", refused)
    run = Run(output)

    await run.run()

    assert run.ended == ["done"]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    messages = [record.getMessage() for record in caplog.records]
    assert all("run_record.not_written" in one and "disk full" in one for one in messages)


async def test_records_come_oldest_first_and_a_damaged_one_is_left_out(
    output: Location, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(2):
        run = Run(output)
        run.numbers, run.seconds = {"requests": number}, run.seconds + number
        await run.run()
    for name in ("2027.json", ".unfinished"):
        output.child("_runs", name).publish(b"x")

    assert [record.requests for record in read_run_records(output)] == [0, 1]
    assert "run_record.damaged name=2027.json" in caplog.text


async def test_only_json_files_that_are_not_hidden_are_records(
    output: Location, caplog: pytest.LogCaptureFixture
) -> None:
    await Run(output).run()
    (info,) = output.child("_runs").children()
    content = output.child("_runs", info.base_name).read() or b""
    for name in (".9.json", "notes.txt"):
        output.child("_runs", name).publish(content)

    assert len(read_run_records(output)) == 1
    assert not caplog.records


async def test_records_keep_their_order_when_the_clock_jumps(output: Location) -> None:
    jumps = (1_800_000_000.0, 4_000_000_000.0, 1_800_000_010.0, 1_700_000_000.0, 1_700_000_001.0)
    for number, moment in enumerate(jumps):
        run = Run(output)
        run.numbers, run.seconds = {"requests": number}, moment
        await run.run()

    records = read_run_records(output)

    assert [record.requests for record in records] == [0, 1, 2, 3, 4]
    assert records[3].started.startswith("2023-11-14"), "the times are still the clock's"


def test_an_output_without_runs_has_no_records(tmp_path: Path) -> None:
    assert read_run_records(locate(str(tmp_path / "none"))) == []


def test_a_record_of_an_earlier_version_is_read(output: Location) -> None:
    output.child("_runs", "20261130T095315.885520Z-2cb55a.json").publish(
        (EXAMPLES / "run_record.json").read_bytes()
    )

    (record,) = read_run_records(output)

    assert (record.state, record.exit_code, record.groups) == ("done", 0, 51)
    assert (record.requests, record.total_tokens) == (51, 357_963)
    assert record.seconds == pytest.approx(1.564, abs=0.001)


async def test_a_record_holds_what_it_held_in_earlier_versions(output: Location) -> None:
    earlier = json.loads((EXAMPLES / "run_record.json").read_text())
    head = ("run_id", "state", "started", "updated", "ended", "exit_code", "error", "host", "pid",
            "input", "model")  # fmt: skip
    run = Run(output)
    run.numbers = {name: value for name, value in earlier.items() if name not in head}

    await run.run()

    (info,) = output.child("_runs").children()
    content = output.child("_runs", info.base_name).read()
    assert content is not None
    assert list(json.loads(content)) == list(earlier)
    assert content.startswith(b'{\n "run_id": ')


async def test_a_record_names_its_process_and_its_file_when_it_began(output: Location) -> None:
    await Run(output).run()

    (record,) = read_run_records(output)
    (info,) = output.child("_runs").children()
    assert (record.host, record.pid) == (platform.node(), os.getpid())
    assert re.fullmatch(r"20270115T080000\.000000Z-[0-9a-f]{6}", record.run_id)
    assert info.base_name == f"{record.run_id}.json"


async def test_a_record_has_a_line_for_each_value_but_those_of_objects(output: Location) -> None:
    run = Run(output)
    run.numbers = {"a": [1, 2], "b": {"c": 0.5, "d": 3}, "e": None}

    await run.run()

    (info,) = output.child("_runs").children()
    content = output.child("_runs", info.base_name).read() or b""
    assert content.endswith(b',\n "a": [1,2],\n "b": {\n  "c": 0.5,\n  "d": 3\n },\n "e": null\n}')


async def test_the_last_numbers_are_those_after_the_end_is_told(output: Location) -> None:
    numbers = {"requests": 1}

    def on_end(state: EndState) -> None:
        numbers["requests"] = 2

    async with recorded_run(
        output,
        input_name="",
        model="",
        snapshot=lambda: numbers,
        on_end=on_end,
        is_partial=lambda: False,
    ):
        pass

    (record,) = read_run_records(output)
    assert record.requests == 2


async def test_a_run_whose_records_cannot_be_listed_is_logged_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(location: Location) -> None:
        raise OutputFailed("permission denied", which=location.name)

    monkeypatch.setattr(Location, "children", refused)
    run = Run(locate(str(tmp_path)))

    await run.run()

    assert run.ended == ["done"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert len(list((tmp_path / "_runs").iterdir())) == 1


async def test_what_runs_may_have_cost_is_added_up(output: Location) -> None:
    """Of each what it stated before or after, whichever is more."""
    for numbers in (
        {"cost_at_most_usd": 5.0, "cost_usd": 1.0},
        {"cost_at_most_usd": 1.0, "cost_usd": 2.0, "unanswered_usd": 0.5},
    ):
        run = Run(output)
        run.numbers = numbers
        await run.run()

    assert read_spent_usd(output) == 5.0 + 2.5


async def test_a_write_that_was_asked_for_as_the_run_ends_is_cancelled(output: Location) -> None:
    asked = list[asyncio.Task[None]]()
    async with recorded_run(
        output,
        input_name="",
        model="",
        snapshot=dict,
        on_end=lambda state: None,
        is_partial=lambda: False,
        update_s=1_000,
    ) as record:
        asked.append(asyncio.create_task(record.write()))
        await asyncio.sleep(0)
        record.end()

    with pytest.raises(asyncio.CancelledError):
        await asked[0]


async def test_a_write_after_the_end_fails_at_once(output: Location) -> None:
    async with recorded_run(
        output,
        input_name="",
        model="",
        snapshot=dict,
        on_end=lambda state: None,
        is_partial=lambda: False,
    ) as record:
        record.end()
        with pytest.raises(RuntimeError, match="after its end"):
            await record.write()

    with pytest.raises(RuntimeError, match="after its end"):
        await record.write()


async def test_whoever_asks_for_a_write_waits_until_it_is_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output, facts = locate(str(tmp_path)), {"cost_at_most_usd": 0.0}
    async with recorded_run(
        output,
        input_name="in",
        model="m",
        snapshot=lambda: facts,
        on_end=lambda state: None,
        is_partial=lambda: False,
        update_s=1_000,
    ) as record:
        for spent_usd in (1.0, 2.0):
            facts["cost_at_most_usd"] = spent_usd
            async with asyncio.TaskGroup() as tasks:
                for _ in range(3):
                    tasks.create_task(record.write())
            assert read_spent_usd(output) == spent_usd
        (file,) = (tmp_path / "_runs").iterdir()
        file.unlink()
        (tmp_path / "_runs").rmdir()
        (tmp_path / "_runs").write_text("in the way")
        with pytest.raises(OutputFailed) as failed:
            await record.write()
        assert str(failed.value) in caplog.text
        (tmp_path / "_runs").unlink()
        await record.write()
