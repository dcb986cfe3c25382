"""Make the XCom of a task from the output of its command: a small JSON object."""

import json
from collections import Counter
from typing import Any, Final

MAX_BYTES: Final = 16_384
"""Largest XCom in bytes: it is a row in Airflow's database, read by every downstream task."""

MAX_NAMED: Final = 20
"""How many partitions that are not done are named."""

LEFT_OUT: Final = "left_out"


def read_summary(out: str) -> dict[str, Any] | None:
    """Return the JSON object that a command printed on stdout; None if it printed none."""
    try:
        facts = json.loads(out)
    except ValueError:
        return None
    return small(facts) if isinstance(facts, dict) else None


def small(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts within `MAX_BYTES`.

    `partitions` of a backfill become counts by state, and `not_done` names some that are not done.
    If that is not enough, the largest values are left out, and `left_out` names them.
    """
    kept = dict(facts)
    if isinstance(partitions := facts.get("partitions"), list):
        kept["partitions"] = dict(Counter(str(one.get("state")) for one in partitions))
        not_done = [
            {name: one.get(name) for name in ("partition", "state", "exit_code", "error")}
            for one in partitions
            if one.get("state") != "done"
        ]
        kept["not_done"] = not_done[:MAX_NAMED]
    left_out: list[str] = []
    while _size(kept) > MAX_BYTES:
        largest = max(
            (name for name in kept if name != LEFT_OUT), key=lambda name: _size(kept[name])
        )
        del kept[largest]
        kept[LEFT_OUT] = left_out = [*left_out, largest[:100]]
    return kept


def _size(value: Any) -> int:
    return len(json.dumps(value))
