"""A month of partitions to a PostgreSQL table and to a bulk file, each command killed once."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from support.postgresql import postgresql
from support.real_runs import groups, killed, rerank, service, start, wait_until

DAYS = [f"2026-11-{day:02d}" for day in range(1, 31)]
GROUPS, DOCUMENTS = 150, 60
ROWS = len(DAYS) * GROUPS * DOCUMENTS


@pytest.mark.timeout(600)
def test_every_row_of_a_month_is_there_once_though_each_command_was_killed(tmp_path: Path) -> None:
    source, root, bulk = tmp_path / "in", tmp_path / "out", tmp_path / "there" / "bulk.ndjson.gz"
    for day in DAYS:
        new = {(group, 0): f"new on {day}: {group}" for group in range(GROUPS)}
        groups([DOCUMENTS] * GROUPS, source / f"dt={day}" / "a.parquet", texts=new)
    with service() as quick, postgresql() as server:
        backfill = ("backfill", source, root, "--from", DAYS[0], "--to", DAYS[-1])
        options = (*quick.options, "--groups-per-part", "50", "--no-progress")
        process = start(*backfill, *options)
        wait_until(lambda: quick.answers() > len(DAYS) * GROUPS / 5)
        killed(process)
        ended = rerank(*backfill, *options)
        assert ended.code == 0, ended.err

        load = ("load", root, "--to", server.address)
        process = start(*load)
        wait_until(lambda: server.query("SELECT to_regclass('reranked') IS NOT NULL")[0][0])
        wait_until(lambda: server.query("SELECT count(*) FROM reranked")[0][0] > ROWS / 5)
        killed(process)
        (half,) = server.query("SELECT count(*) FROM reranked")[0]
        assert 0 < half < ROWS
        assert rerank(*load).code == 0

        export = ("export", root, bulk, "--format", "es-bulk", "--index", "ranked")
        process = start(*export)
        wait_until(bulk.parent.exists)
        killed(process)
        assert list(bulk.parent.iterdir()) == []
        assert rerank(*export).code == 0

        stored = Counter(
            (str(day), query_id, doc_id)
            for day, query_id, doc_id in server.query("SELECT dt, query_id, doc_id FROM reranked")
        )
    with gzip.open(bulk, "rt") as lines:
        read = [json.loads(line) for line in lines]
    sent = Counter(
        (source["dt"], source["query_id"], result["doc_id"])
        for source in read[1::2]
        for result in source["results"]
    )
    expected = Counter(
        (day, f"q{group}", f"d{group}-{place}")
        for day in DAYS
        for group in range(GROUPS)
        for place in range(DOCUMENTS)
    )
    assert stored == expected
    assert sent == expected
    assert [head["index"]["_id"] for head in read[::2]] == [
        f"{day}:q{group}" for day in DAYS for group in range(GROUPS)
    ]
