"""Leases in a real Redis: the script does what the ledger does, and real runs share a quota."""

import asyncio

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.leasers import FakeLeaser
from support.redis_server import redis_server
from support.takers import World, ended
from support.virtual_clock import run

from pipeline.core.errors import OutageTooLong, SettingsError
from pipeline.service.throttle.leases.address import parse_address
from pipeline.service.throttle.leases.holder import LeaseHolder
from pipeline.service.throttle.leases.ledger import Ledger
from pipeline.service.throttle.leases.messages import (
    Ask,
    Grant,
    LeaseTimes,
    Refused,
    Report,
    Served,
)
from pipeline.service.throttle.leases.redis_leaser import ledger_script, script_facts


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        yield address


class ScriptedLedger:
    """The script in a real server, by a clock that the test gives."""

    def __init__(self, address: str, name: str, **times) -> None:
        self._redis = redis.Redis.from_url(address)
        self._key = name
        self._redis.delete(name)
        self._times = msgspec.json.encode(LeaseTimes(**times))
        self._script = self._redis.register_script(
            "local clock = tonumber(ARGV[4])\n" + ledger_script()
        )

    def ask(self, now: float, ask: Ask) -> Grant:
        arguments = [script_facts(ask), self._times, 60, repr(now)]
        granted = self._script(keys=[self._key], args=arguments)
        return msgspec.json.decode(granted, type=Grant)


RATES = st.sampled_from([None, 7.3, 50.0])
WANTS = st.lists(st.sampled_from([0.0, 3.0, 12.5, 60.0]), max_size=12)
AMOUNTS = st.sampled_from([1.0, 4.0, 9.0])
LIMITS = st.sampled_from(["requests", "tokens"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.00137, 0.0139, 0.0713, 0.3171, 1.0093, 2.5119]),
        st.sampled_from("abcd"),
        WANTS,
        st.lists(st.tuples(LIMITS, st.integers(0, 3), AMOUNTS), max_size=2),
        st.lists(st.tuples(LIMITS, st.integers(0, 3), st.sampled_from([0.25, 1.0])), max_size=1),
        st.sampled_from([None, None, None, None, 0.3]),
        st.sampled_from([False] * 7 + [True]),
        st.booleans(),
    ),
    min_size=5,
    max_size=40,
)


@settings(
    deadline=None,
    max_examples=100,
    derandomize=True,  # equal moments may differ in their last digit
    phases=[Phase.explicit, Phase.generate],  # to shrink 40 steps takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS, requests=RATES, tokens=RATES)
def test_the_script_grants_what_the_ledger_grants(address, steps, requests, tokens) -> None:
    ledger, script = Ledger(), ScriptedLedger(address, "equal")
    now, held, epochs = 1_000.0, {name: [] for name in "abcd"}, (0.0, 0.0)
    for number, (after_s, name, wants, served, refused, share, leaving, unused) in enumerate(steps):
        now += after_s
        given_back = held[name][-2:] if unused else []
        report = Report(
            number + 1,
            unused=given_back,
            corrections=[(slot.at, 2.0) for slot in held[name][:2]],
            served=[Served(*one) for one in served],
            refused=[Refused(*one) for one in refused],
        )
        held[name] = []
        asks = [
            Ask(name, requests, tokens, wants, report, share, leaving, epoch) for epoch in epochs
        ]
        expected, found = ledger.ask(now, asks[0]), script.ask(now, asks[1])
        epochs = epochs if leaving else (expected.epoch, found.epoch)

        assert [slot.at for slot in expected.slots] == pytest.approx(
            [slot.at for slot in found.slots], abs=1e-4
        )
        assert [slot.tokens for slot in expected.slots] == [slot.tokens for slot in found.slots]
        for fact in ("takers", "stay", "requests_version", "tokens_version"):
            assert getattr(expected, fact) == getattr(found, fact), fact
        for fact in ("again_s", "share", "requests_per_s", "tokens_per_s", "pause_s"):
            assert getattr(expected, fact) == pytest.approx(getattr(found, fact), abs=1e-4), fact
        held[name] = expected.slots


def test_takers_share_what_redis_leases(address) -> None:
    leaser = FakeLeaser()
    leaser.ledger = ScriptedLedger(address, "shared")
    world = World(leaser, 100.0)

    async def play() -> None:
        tasks = [asyncio.create_task(world.take_part(name)) for name in "abcd"]
        await asyncio.sleep(15)
        await ended(tasks)

    run(play())

    world.check()
    assert sum(world.by_taker(5, 15).values()) >= 0.98 * 1_000
    assert min(world.by_taker(5, 15).values()) >= 240


async def joined(address: str, password: str | None = None) -> None:
    leaser = parse_address(address).leaser("nightly", password)
    async with LeaseHolder(leaser, 100.0, None).running(max_unreached_s=0.0):
        pass


async def test_a_quota_is_kept_by_its_name_for_a_day(address) -> None:
    await joined(address)

    with redis.Redis.from_url(address) as server:
        assert 86_000 < server.ttl("rerank:quota:nightly") <= 86_400


async def test_a_password_that_redis_refuses_ends_the_run(tmp_path) -> None:
    with redis_server(tmp_path, "--requirepass", "secret") as address:
        for url, password in (
            (address.replace("//", "//:wrong-one@"), None),
            (address, "wrong-one"),
            (address, None),
        ):
            with pytest.raises(SettingsError) as refused:
                await joined(url, password)
            told = str(refused.value)
            assert told.startswith(f"--quota {address}: Redis refuses the user or the password")
            assert "wrong-one" not in told

        await joined(address.replace("//", "//:secret@"))
        await joined(address, "secret")


async def test_a_redis_that_is_not_there_ends_the_run(tmp_path) -> None:
    with redis_server(tmp_path) as address:
        pass

    with pytest.raises(OutageTooLong, match=r"found Error .* connecting to 127\.0\.0\.1"):
        await joined(address)
