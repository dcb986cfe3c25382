"""The server that leases quotas: whom it answers, and that a run keeps its quota with it."""

import asyncio
import signal
from pathlib import Path

import aiohttp
import msgspec
import pytest
from support.real_runs import environment, groups, rerank, service, start, wait_until
from support.takers import World, ended

from jobs.quota_server import QuotaServerConfig, running_quota_server
from pipeline.core.errors import SettingsError
from pipeline.service.throttle.leases.address import parse_address
from pipeline.service.throttle.leases.holder import LeaseHolder


def holder(address: str, token: str | None = None) -> LeaseHolder:
    return LeaseHolder(parse_address(address).leaser("account", token), 100.0, None)


async def test_takers_of_one_quota_share_it_and_takers_of_another_have_their_own() -> None:
    async with running_quota_server(QuotaServerConfig(requests_per_minute=600)) as address:
        leased = [parse_address(address).leaser(name, None) for name in ("a", "a", "b")]
        worlds = [World(leaser, 100.0, latency_s=0.005) for leaser in leased]
        tasks = [asyncio.create_task(world.take_part("one")) for world in worlds]
        await asyncio.to_thread(wait_until, lambda: all(len(w.sent) > 8 for w in worlds))
        await ended(tasks)

    first, second, other = (len(world.sent) for world in worlds)
    assert first + second < 2 * other


async def test_only_those_that_show_the_token_are_answered() -> None:
    async with running_quota_server(QuotaServerConfig(token="let-me-in")) as address:
        for token in (None, "another"):
            with pytest.raises(SettingsError) as refused:
                async with holder(address, token).running():
                    pass
            assert "--quota-token-env" in str(refused.value)
            assert "another" not in str(refused.value)
        async with holder(address, "let-me-in").running():
            pass


async def test_what_is_no_ask_is_refused() -> None:
    async with running_quota_server(QuotaServerConfig()) as address, aiohttp.ClientSession() as web:
        good = {"taker": "a", "requests_per_s": 1.0, "tokens_per_s": None, "wants": [0.0]}
        good["report"] = {"number": 1}
        bad = [
            good | {"requests_per_s": 0.0},
            good | {"wants": [-1.0]},
            good | {"wants": [0.0] * 20_000},
            good | {"share": 2.0},
            good | {"report": {"number": 1, "refused": [["requests", 0, 1e9]]}},
        ]
        async with web.post(f"{address}/lease/x", data=msgspec.json.encode(good)) as answer:
            assert answer.status == 200
        for body in (b"", b"[]", b'{"taker": 5}', b"\xff" * 100, *map(msgspec.json.encode, bad)):
            async with web.post(f"{address}/lease/x", data=body) as answer:
                assert answer.status == 400


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "quota.example"])
def test_a_server_that_others_can_reach_needs_a_token(host: str) -> None:
    with pytest.raises(SettingsError) as refused:
        QuotaServerConfig(host=host)

    assert "--token-env" in str(refused.value)
    assert QuotaServerConfig(host=host, token="t").token == "t"


def test_the_command_serves_until_sigterm_and_prints_its_address_first() -> None:
    server = start("quota", "serve", "--no-config")
    try:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("http://127.0.0.1:")
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=20) == 0
    finally:
        server.kill()
        server.communicate()


def test_a_variable_without_a_token_is_refused() -> None:
    failed = rerank("quota", "serve", "--token-env", "NOT_SET")

    assert failed.code == 2
    assert "NOT_SET" in failed.failure


def test_a_run_goes_on_at_its_share_when_the_server_is_killed(tmp_path) -> None:
    source = groups([2] * 240, tmp_path / "candidates.parquet")
    server = start("quota", "serve", "--requests-per-minute", 1_500)
    with service() as emulator:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            run = start(
                *("run", source, tmp_path / "out", *emulator.options, "--quota", address),
                *("--no-progress", "--log-format", "json", "--json"),
                env=environment(),
            )
            wait_until(lambda: emulator.answers() > 10)
            server.kill()
            out, err = run.communicate(timeout=100)
        finally:
            server.kill()
            server.communicate()

    assert run.returncode == 0, err
    assert msgspec.json.decode(out)["groups_done"] == 240
    assert err.count("quota.leaser_lost") == 1


def test_a_signal_ends_the_wait_for_a_leaser_that_is_not_there(tmp_path) -> None:
    source = groups([2], tmp_path / "candidates.parquet")
    run = start(
        *("run", source, tmp_path / "out", "--provider", "emulator", "--no-progress"),
        *("--quota", "http://127.0.0.1:9"),
    )
    assert run.stderr is not None
    wait_until(lambda: _handles_sigterm(run.pid))
    run.send_signal(signal.SIGTERM)
    out, err = run.communicate(timeout=20)

    assert run.returncode == 143
    assert "before cleanup" not in err
    assert out == ""


def _handles_sigterm(pid: int) -> bool:
    """Return whether a process has begun to handle the signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt"))[7:], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def test_a_run_whose_quota_has_no_address_is_refused(tmp_path) -> None:
    source = groups([2], tmp_path / "candidates.parquet")
    for url in ("ftp://h", "http://", "redis://", "http://u:secret@h:1", "nonsense"):
        failed = rerank("run", source, tmp_path / "out", "--provider", "emulator", "--quota", url)

        assert failed.code == 2
        assert "--quota" in failed.failure
        assert "secret" not in failed.failure
