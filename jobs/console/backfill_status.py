"""Read how far a backfill is, or how it ended, from its OUTPUT_ROOT."""

from typing import Any, Final

from jobs.console.output_status import next_step, read_status
from jobs.console.printing import table_lines, usd
from pipeline.output.backfill_record import (
    backfill_state,
    begun_partitions,
    planned_partitions,
)
from pipeline.output.run_records import read_run_records
from pipeline.storage.location import Location

_SUMMED: Final = ("groups_done", "candidates_done", "requests", "requests_reused", "cost_usd")
_NOTHING: Final[dict[str, Any]] = dict.fromkeys(_SUMMED, 0) | {
    "state": "waiting",
    "error": None,
    "percent": None,
}


def read_backfill_status(root: Location) -> dict[str, Any]:
    """Return the state of a backfill, sums over its partitions, and each partition.

    Raises:
        InputError: if an output of it cannot be read.
    """
    begun = {one.folder: one.location for one in begun_partitions(root)}
    partitions = [
        {"partition": name}
        | _NOTHING
        | ({} if name not in begun else _facts(read_status(begun[name])))
        for name in sorted({*planned_partitions(root), *begun})
    ]
    sums = {name: sum(one[name] for one in partitions) for name in _SUMMED}
    done = sum(one["state"] == "done" for one in partitions)
    last = next(reversed(read_run_records(root)), None)
    state = backfill_state(root, last, is_done=done == len(partitions))
    percents = [one["percent"] or 0.0 for one in partitions]
    return {
        "state": state,
        "next": "nothing: read OUTPUT_ROOT/*/*.parquet"
        if state == "done"
        else next_step(state, last.exit_code if last else None),
        "percent": round(sum(percents) / len(percents), 1),
        "partitions_done": done,
        **sums,
        "error": last.error if last and state != "done" else None,
        "updated": last.updated if last else None,
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
