"""How far a backfill is, or how it ended, from what its OUTPUT_ROOT holds."""

from typing import Any, Final

from jobs.console.printing import emit, emit_table, usd
from pipeline.core.errors import InputError
from pipeline.output.backfill_record import planned_partitions
from pipeline.output.layout import MANIFEST_NAME
from pipeline.output.lock.lock import is_held
from pipeline.output.run_records import read_run_records
from pipeline.storage.location import Location
from pipeline.storage.partitions import list_partitions

_SUMMED: Final = ("groups_done", "candidates_done", "requests", "requests_reused", "cost_usd")
_NOTHING: Final[dict[str, Any]] = dict.fromkeys(_SUMMED, 0) | {"state": "waiting", "error": None}


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
    from jobs.commands.status import read_status

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
    return {
        "state": state,
        "partitions_done": done,
        **sums,
        "error": last[0].error if last and state != "done" else None,
        "partitions": partitions,
    }


def show_backfill_status(facts: dict[str, Any]) -> None:
    """Print the state of a backfill for people."""
    partitions = facts["partitions"]
    done = f"{facts['partitions_done']} of {len(partitions)} done"
    emit(f"backfill {facts['state']}, {done}")
    emit_table(
        ("partition", "state", "queries", "candidates", "requests", "reused", "cost"),
        [
            (
                one["partition"],
                one["state"],
                *(f"{one[name]:,}" for name in _SUMMED[:-1]),
                usd(one["cost_usd"]),
            )
            for one in [*partitions, facts | {"partition": "all"}]
        ],
    )
    for one in [*partitions, facts | {"partition": "last error"}]:
        if one["error"]:
            emit(f"{one['partition']}: {one['error']}")


def _facts(status: dict[str, Any]) -> dict[str, Any]:
    return {name: status[name] for name in ("state", "error", *_SUMMED)}


def _begun(root: Location) -> list[Location]:
    found = [partition.location for partition in list_partitions(root)]
    return [place for place in found if place.child(MANIFEST_NAME).exists()]
