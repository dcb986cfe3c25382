"""How far a backfill is, or how it ended, from what its OUTPUT_ROOT holds."""

from typing import Any, Final

from jobs.console.output_status import next_step, read_status
from jobs.console.printing import table_lines, usd
from pipeline.core.errors import InputError
from pipeline.output.backfill_record import planned_partitions
from pipeline.output.layout import MANIFEST_NAME
from pipeline.output.lock.output_lock import is_held
from pipeline.output.run_records import read_run_records
from pipeline.storage.location import Location
from pipeline.storage.partitions import list_partitions

_SUMMED: Final = ("groups_done", "candidates_done", "requests", "requests_reused", "cost_usd")
_NOTHING: Final[dict[str, Any]] = dict.fromkeys(_SUMMED, 0) | {
    "state": "waiting",
    "error": None,
    "percent": None,
}


def is_backfill(root: Location) -> bool:
    """Return whether a folder is the root of a backfill."""
    if root.child(MANIFEST_NAME).exists():
        return False
    try:
        return bool(planned_partitions(root) or _begun(root))
    except InputError:  # partitions of several keys
        return False


def read_backfill_status(root: Location) -> dict[str, Any]:
    """Return the state of a backfill, sums over its partitions, and each partition.

    Raises:
        InputError: if an output of it cannot be read.
    """
    begun = {place.path.rpartition("/")[2]: place for place in _begun(root)}
    partitions = [
        {"partition": name}
        | _NOTHING
        | ({} if name not in begun else _facts(read_status(begun[name])))
        for name in sorted({*planned_partitions(root), *begun})
    ]
    sums = {name: sum(one[name] for one in partitions) for name in _SUMMED}
    done = sum(one["state"] == "done" for one in partitions)
    last = read_run_records(root)[-1:]
    state = "done" if done == len(partitions) else "interrupted"
    if is_held(root):
        state = "running"
    elif state != "done" and last and last[0].state not in ("running", "done"):
        state = last[0].state
    percents = [one["percent"] or 0.0 for one in partitions]
    return {
        "state": state,
        "next": "nothing: read OUTPUT_ROOT/*/*.parquet"
        if state == "done"
        else next_step(state, last[0].exit_code if last else None),
        "percent": round(sum(percents) / len(percents), 1),
        "partitions_done": done,
        **sums,
        "error": last[0].error if last and state != "done" else None,
        "updated": last[0].updated if last else None,
        "partitions": partitions,
    }


def backfill_lines(facts: dict[str, Any]) -> list[str]:
    """Return the state of a backfill for people."""
    partitions = facts["partitions"]
    done = f"{facts['partitions_done']} of {len(partitions)} partitions done"
    table = table_lines(
        ("partition", "state", "paid", "queries", "candidates", "requests", "reused", "cost"),
        [
            (
                one["partition"],
                one["state"],
                "-" if one["percent"] is None else f"{one['percent']:g} %",
                *(f"{one[name]:,}" for name in _SUMMED[:-1]),
                usd(one["cost_usd"]),
            )
            for one in [*partitions, facts | {"partition": "all"}]
        ],
    )
    errors = [
        f"{one['partition']}: {one['error']}"
        for one in [*partitions, facts | {"partition": "last error"}]
        if one["error"]
    ]
    return [f"backfill {facts['state']}, {done}", *table, *errors, f"next: {facts['next']}"]


def _facts(status: dict[str, Any]) -> dict[str, Any]:
    return {name: status[name] for name in ("state", "error", "percent", *_SUMMED)}


def _begun(root: Location) -> list[Location]:
    found = [partition.location for partition in list_partitions(root)]
    return [place for place in found if place.child(MANIFEST_NAME).exists()]
