"""The slots that some dozens of random talks of takers with a ledger come to, as ever.

`ledger.lua` does the same in Redis, and processes of another version may share a quota with ours:
whoever changes the schedule changes it there too. Given a Redis server, `test_quota_redis.py`
compares the two.
"""

import hashlib
import random

import msgspec

from pipeline.service.throttle.leases.ledger import Ledger
from pipeline.service.throttle.leases.messages import (
    Ask,
    Grant,
    LeaseTimes,
    Refused,
    Report,
    Served,
)

KNOWN = "e1e05f992ee0cc11"


def talk(draw: random.Random) -> list[object]:
    """Let four takers talk with a ledger; return what it grants."""
    quota = [draw.choice([None, 7.0, 90.0]), draw.choice([None, 500.0, 30_000.0])]
    times = LeaseTimes(gather_s=draw.choice([0.0, 3.0]))
    ledger, now, epoch = Ledger(*quota, times=times), 1_000.0, 0.0
    held: dict[str, Grant] = {name: Grant(0.0) for name in "abcd"}
    granted: list[object] = []
    for number in range(60):
        name = draw.choice("abcd")
        now += draw.choice([0.001, 0.02, 0.1, 0.1, 0.3, 1.0, 2.5])
        had = held[name]
        served = [
            Served(limit, version + draw.choice([0, 0, 0, 1]), draw.choice([1.0, 20.0]))
            for limit, version in (
                ("requests", had.requests_version),
                ("tokens", had.tokens_version),
            )
            if draw.random() < 0.7
        ]
        limit = draw.choice(["requests", "tokens"])
        version = had.tokens_version if limit == "tokens" else had.requests_version
        refused = [Refused(limit, version, draw.choice([0.25, 1.0]))]
        report = Report(
            number if draw.random() < 0.9 else 1,
            unused=had.slots[-2:] if draw.random() < 0.3 else [],
            corrections=[(slot.at, draw.choice([-5.0, 2.0])) for slot in had.slots[:2]],
            served=served,
            refused=refused if draw.random() < 0.1 else [],
        )
        ask = Ask(
            name,
            *[draw.choice([None, 60.0]), draw.choice([None, 40_000.0])],
            wants=[draw.choice([0.0, 3.0, 400.0]) for _ in range(draw.choice([0, 1, 5, 30]))],
            report=report,
            share=draw.choice([None] * 6 + [0.25]),
            is_leaving=draw.random() < 0.05,
            epoch=epoch,
        )
        grant = held[name] = ledger.ask(now, ask)
        if not ask.is_leaving:
            epoch = grant.epoch
        grant.epoch = 0.0
        granted.append(rounded(msgspec.to_builtins(grant)))
    return granted


def rounded(value: object) -> object:
    match value:
        case float():
            return round(value, 6) + 0.0
        case dict():
            return {name: rounded(one) for name, one in value.items()}
        case list() | tuple():
            return [rounded(one) for one in value]
    return value


def test_takers_are_granted_the_same_slots_as_ever() -> None:
    talks = [talk(random.Random(seed)) for seed in range(60)]

    digest = hashlib.sha256(msgspec.json.encode(talks)).hexdigest()[:16]

    assert digest == KNOWN
