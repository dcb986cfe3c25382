"""Shards on a real Dask cluster: two worker processes, one of them killed half-way."""

import json
import os
import signal
import threading
import time

import distributed
import pytest
from support.real_runs import (
    SAMPLE,
    end,
    groups,
    rerank,
    results,
    service,
    start,
    wait_until,
)

from jobs.dask_cluster import local_cluster, rerank_on_cluster
from jobs.process.signals import raised_interrupts
from pipeline.core.errors import Interrupted, ServiceRefused, SettingsError

QUICK = ("--no-progress", "--groups-per-part", 5)


def options(running, **more):
    return {
        "provider": "emulator",
        "url": running.options[-1],
        "groups_per_part": 5,
        **more,
    }


@pytest.fixture(scope="module")
def cluster():
    with local_cluster(2) as client:
        yield client


@pytest.fixture
def candidates(tmp_path):
    return groups([3] * 120, tmp_path / "candidates.parquet")


def single(candidates, tmp_path, running):
    ended = rerank("run", candidates, tmp_path / "one", *QUICK, *running.options)
    assert ended.code == 0, ended.err
    return results(tmp_path / "one")


def worker_pids(client) -> list[int]:
    return list(client.run(os.getpid).values())


@pytest.mark.timeout(300)
def test_a_killed_workers_shard_is_finished_by_another(cluster, candidates, tmp_path) -> None:
    # A slot of the quota may be used 20 ms late, so windows of exactly a second hold one too many.
    with service("--requests-per-minute", 1_800, "--clock-jitter", 0.1) as slow:
        expected = single(candidates, tmp_path, slow)
        paid_before, refused_before = slow.answers(), slow.refusals()
        killed = []

        def kill_one() -> None:
            wait_until(lambda: slow.answers() > paid_before + 30, timeout_s=120)
            killed.append(worker_pids(cluster)[0])
            os.kill(killed[0], signal.SIGKILL)

        killer = threading.Thread(target=kill_one)
        killer.start()
        summary = rerank_on_cluster(
            cluster,
            str(candidates),
            str(tmp_path / "many"),
            **options(slow, requests_per_minute=1_800),
        )
        killer.join()
        paid, refused = slow.answers() - paid_before, slow.refusals() - refused_before

    assert killed
    assert killed[0] not in worker_pids(cluster)
    assert results(tmp_path / "many") == expected
    assert (tmp_path / "many" / "_SUCCESS").exists()
    assert (summary.state, summary.groups, summary.parts) == ("done", 120, 24)
    assert paid <= 120 + 32
    assert refused == 0, "two workers together stay within the quota"


@pytest.mark.timeout(300)
def test_a_refusal_in_one_shard_stops_all(cluster, candidates, tmp_path) -> None:
    with service("--api-key", "another") as locked, pytest.raises(ServiceRefused) as refused:
        rerank_on_cluster(cluster, str(candidates), str(tmp_path / "out"), **options(locked))

    assert refused.value.exit_code == 4
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_options_without_meaning_are_refused(cluster, candidates, tmp_path) -> None:
    with service() as running:
        for wrong in ({"shard": "1/2"}, {"restart": True}, {"no_such": 1}, {"top_n": 0}):
            with pytest.raises(SettingsError):
                rerank_on_cluster(
                    cluster, str(candidates), str(tmp_path / "out"), **options(running, **wrong)
                )


@pytest.mark.timeout(300)
def test_the_command_writes_the_bytes_of_a_single_run(tmp_path) -> None:
    with service() as running:
        one = rerank(
            *("run", SAMPLE / "candidates.parquet", tmp_path / "one", *QUICK, *running.options)
        )
        assert one.code == 0, one.err

        many = rerank(
            *("run", SAMPLE / "candidates.parquet", tmp_path / "many", *QUICK, *running.options),
            *("--dask", "local:2", "--json"),
        )

    assert many.code == 0, many.err
    assert results(tmp_path / "many") == results(tmp_path / "one")
    assert (many.facts["state"], many.facts["groups"], many.facts["requests"]) == ("done", 51, 51)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_driver_stops_the_shards_in_order(
    candidates, tmp_path, number, code
) -> None:
    with service("--latency-ms", 200) as slow:
        run = start(
            *("run", candidates, tmp_path / "out", *QUICK, *slow.options, "--max-in-flight", 1),
            *("--dask", "local:2"),
            start_new_session=True,
        )
        wait_until(lambda: slow.answers() > 6, timeout_s=120)
        os.killpg(run.pid, number)  # as a terminal does: to the workers too
        stopped = time.monotonic()
        ended = end(run)
        took_s = time.monotonic() - stopped
        paid = slow.answers()
        records = [json.loads(file.read_text()) for file in (tmp_path / "out/_runs").glob("*")]

        again = rerank("run", candidates, tmp_path / "out", *QUICK, *slow.options)

    assert ended.code == code, ended.err
    assert took_s < 15
    if number == signal.SIGINT:
        assert {record["state"] for record in records} == {"interrupted"}
    assert again.code == 0
    assert paid < 120


def test_ctrl_c_while_the_workers_are_started_stops_the_driver_once_they_are(monkeypatch) -> None:
    started = []

    class InterruptedCluster:
        def __init__(self, **_options) -> None:
            signal.raise_signal(signal.SIGINT)
            started.append(self)

    monkeypatch.setattr(distributed, "LocalCluster", InterruptedCluster)

    with pytest.raises(Interrupted), raised_interrupts(), local_cluster(2):
        raise AssertionError("the signal was forgotten")
    assert started


def test_a_cluster_that_is_not_there_is_refused(candidates, tmp_path) -> None:
    for address in ("local:0", "local:", "nonsense", "tcp://127.0.0.1:9"):
        ended = rerank(
            *("run", candidates, tmp_path / "out", "--provider", "emulator", "--dask", address)
        )

        assert ended.code == 2, address
        assert "--dask" in ended.failure
