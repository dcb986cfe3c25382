"""A backfill in a session, without a service: how it ends if nothing is in work."""

import signal
from pathlib import Path

import pytest
from support.group_world import make_settings
from support.real_runs import groups, last_record

from pipeline.core.errors import Interrupted
from pipeline.dataset.backfill import Backfill
from pipeline.dataset.session import Session
from pipeline.storage.location import locate
from pipeline.storage.partitions import list_partitions


async def test_a_signal_before_the_first_partition_begins_interrupts(tmp_path: Path) -> None:
    groups([2], tmp_path / "in" / "dt=2026-11-01" / "a.parquet")
    partitions = list_partitions(locate(str(tmp_path / "in")))
    async with Session(make_settings()) as session:
        backfill = Backfill(session, partitions, locate(str(tmp_path / "out")))
        session.stop(signal.SIGTERM)

        with pytest.raises(Interrupted):
            await backfill.run()

    assert [result.state for result in backfill.results()] == ["waiting"]
    assert last_record(tmp_path / "out")["state"] == "interrupted"
