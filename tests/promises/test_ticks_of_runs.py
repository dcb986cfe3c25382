"""Each run on an output keeps its ticks, also one that was killed, and together they tell all."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.fake_reranker import FakeReranker, Fixed
from support.group_world import make_settings
from support.real_runs import groups, killed, rerank_here, service, start, wait_until

from pipeline.core.settings import Pace
from pipeline.dataset.rerank import rerank_dataset
from pipeline.dataset.session import Session
from pipeline.output.run_records import RunRecord, read_run_records
from pipeline.storage.location import locate


def records(output: Path) -> list[RunRecord]:
    return read_run_records(locate(str(output)))


def test_a_killed_run_keeps_its_ticks_and_the_next_one_has_its_own(tmp_path: Path) -> None:
    given, output = groups([3] * 60, tmp_path / "in.parquet"), tmp_path / "out"
    with service() as emulator:
        command = ("run", given, output, *emulator.options, "--no-progress")
        first = start(*command, "--requests-per-minute", 300)
        wait_until(lambda: output.exists() and any(len(one.ticks) > 2 for one in records(output)))
        killed(first)
        assert rerank_here(*command).code == 0
        answers = emulator.answers()

    one, two = records(output)

    assert one.state == "running"
    before, after = one.ticks.total(), two.ticks.total()
    assert before is not None
    assert after is not None
    assert before.requests == pytest.approx(5 * before.seconds, rel=0.4)
    assert before.bound_by == "requests_per_minute"
    assert after.requests == two.requests
    assert after.reused == two.requests_reused >= before.requests
    assert sum(count for _, count in two.latency_histogram) == two.requests
    assert two.requests_reused + two.requests == 60 <= answers


async def test_an_outage_is_told_from_a_slow_service(tmp_path: Path) -> None:
    given, output = groups([3] * 20, tmp_path / "in.parquet"), tmp_path / "out"
    loop = asyncio.get_running_loop()
    began = loop.time()

    def down_for_a_while(_: dict[str, Any]) -> Fixed:
        return 503 if 0.3 < loop.time() - began < 3 else 200

    async with FakeReranker(otherwise=down_for_a_while) as fake:
        settings = make_settings(url=fake.url, pace=Pace(requests_per_minute=1_200))
        async with Session(settings, "key") as session:
            await rerank_dataset(session, str(given), str(output))

    (record,) = records(output)
    whole = record.ticks.total()
    assert whole is not None
    assert whole.bound_by == "outage"
    assert (whole.requests, whole.failed) == (record.requests, record.requests_failed)
