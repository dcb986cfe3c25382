"""Read how far a run is, or how it ended, from its OUTPUT: for `rerank status`."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from pipeline.core.errors import InputError
from pipeline.output.layout import SUCCESS_NAME
from pipeline.output.lock.output_lock import is_held
from pipeline.output.manifest import read_manifest
from pipeline.output.part_info import PartInfo, read_part_infos
from pipeline.output.run_records import RunRecord, State, read_run_records
from pipeline.output.shard_plan import ShardPlan, read_shard_plan
from pipeline.storage.location import Location

_SUMMED: Final = (
    *("requests", "requests_sent", "requests_failed", "throttled", "requests_reused"),
    *("total_tokens", "search_units", "cost_usd", "unanswered", "unanswered_usd", "retries"),
)
"""Numbers that are summed over all runs on the output, to give its whole cost."""

STATE_CODES: Final[dict[str, int]] = {
    "done": 0,
    "running": 20,
    "interrupted": 21,
    "failed": 22,
    "partial": 23,
}
"""The exit code of `rerank status --exit-code` for each state."""

_CONTINUE: Final = "run the same command again; it pays only for what is missing"
_COMMIT: Final = "finish it with rerank commit"
_RUN_SHARDS: Final = "run the shards that are missing, then finish with rerank commit"
_NEXT_BY_STATE: Final = {
    "done": "nothing: read OUTPUT/*.parquet",
    "running": "wait, or watch it with --watch",
    "interrupted": _CONTINUE,
    "failed": f"remove the cause of the error, then {_CONTINUE}",
    "partial": "run the same command again, which asks for the rejects alone, or raise"
    " --max-rejects",
}
_NEXT_BY_CODE: Final = {
    3: f"correct the input, then {_CONTINUE}",
    4: f"act on what the service refuses, then {_CONTINUE}",
    8: f"wait until the service is up, then {_CONTINUE}",
    9: f"raise --max-cost, then {_CONTINUE}",
}


def read_status(output: Location) -> dict[str, Any]:
    """Read the state of an output from its parts and from the records of the runs on it.

    Returns:
        `state` (`running`, `interrupted`, `failed`, `partial` or `done`) and `next`, what to do;
        the counts that `run` reports; `percent` of the candidates that are paid; requests, tokens
        and cost summed over all runs; of the last run its speed, `seconds_left` and `limited_by`
        while it goes on, and `error` and `exit_code` if it ended badly; `was_killed` if its record
        has no end.

    Raises:
        InputError: if there is no output of this job.
    """
    manifest = read_manifest(output)
    if manifest is None:
        raise InputError(
            "not an output of `rerank run`: it has no _manifest.json",
            which=output.name,
            cure="name the OUTPUT of a run",
        )
    parts = read_part_infos(output, manifest.fingerprint).values()
    runs = read_run_records(output)
    last = runs[-1] if runs else RunRecord(run_id="", started="")
    state = _state(output, last)
    was_killed = last.state == "running" and state == "interrupted"
    plan = read_shard_plan(output, manifest.fingerprint)
    if plan is not None:
        last = _of_all_shards(runs, last, plan)
    shards_done = None if plan is None else _shards_done(plan, list(parts))
    ended_badly = state in ("failed", "partial", "interrupted")
    paid = last.candidates_done if plan is not None else _candidates_paid(runs)
    return {
        "state": state,
        "next": next_step(state, last.exit_code)
        if plan is None
        else _next_of_shards(state, last.exit_code, are_written=shards_done == plan.count),
        "shards": None if plan is None else plan.count,
        "shards_done": shards_done,
        "percent": _percent(state, paid, last.candidates),
        "groups": last.groups,
        "groups_done": sum(part.num_groups for part in parts),
        "groups_ranked": max(last.groups_ranked, sum(part.num_groups for part in parts)),
        "parts": last.parts,
        "parts_done": len(parts),
        "candidates": last.candidates,
        "candidates_done": last.candidates_done,
        "candidates_paid": paid,
        "rejected": sum(part.num_rejected for part in parts),
        "skipped": sum(part.num_skipped for part in parts),
        **{name: sum(getattr(run, name) for run in runs) for name in _SUMMED},
        "last_run_usd": last.cost_usd,
        "all_runs_usd": sum(run.spent_usd for run in runs),
        "runs": len(runs),
        **_speed(last, is_running=state == "running"),
        "outage_s": last.outage_s if state == "running" else 0.0,
        "started": last.started or None,
        "updated": last.updated,
        "error": last.error if ended_badly else None,
        "was_killed": was_killed,
        "exit_code": last.exit_code if ended_badly else None,
    }


def next_step(state: str, exit_code: int | None) -> str:
    """Return the next step for an output in this state, whose last run ended with this code."""
    by_code = _NEXT_BY_CODE.get(exit_code or 0) if state == "failed" else None
    return by_code or _NEXT_BY_STATE[state]


def _next_of_shards(state: str, exit_code: int | None, *, are_written: bool) -> str:
    """Return the next step for an output that shards write, until it is committed."""
    if are_written and state != "done":
        return _COMMIT
    return _RUN_SHARDS if state == "interrupted" else next_step(state, exit_code)


def _state(output: Location, last: RunRecord) -> State:
    """Return the last record's state, corrected if the run was killed or its result removed."""
    if last.state == "running" and is_held(output):
        return last.state
    if last.state not in ("running", "done"):
        return last.state
    return "done" if output.child(SUCCESS_NAME).exists() else "interrupted"


def _of_all_shards(runs: Sequence[RunRecord], last: RunRecord, plan: ShardPlan) -> RunRecord:
    """Return a record of what the last run of each shard did together."""
    latest = {run.shard: run for run in runs if run.shard and run.shard.endswith(f"/{plan.count}")}
    sizes = [run.candidates for run in latest.values()]
    known = [size for size in sizes if size is not None]
    return replace(
        last,
        groups=plan.num_groups,
        groups_ranked=sum(run.groups_ranked for run in latest.values()),
        parts=len(plan.parts),
        candidates=sum(known) if len(known) == plan.count else None,
        candidates_done=sum(run.candidates_done for run in latest.values()),
        cost_usd=sum(run.cost_usd for run in latest.values()),
        requests=sum(run.requests for run in latest.values()),
        seconds=max((run.seconds for run in latest.values()), default=0.0),
    )


def _shards_done(plan: ShardPlan, parts: Sequence[PartInfo]) -> int:
    """Return how many shards have all their parts."""
    unfinished = {plan.owner(index, plan.count) for index in plan.missing(parts)}
    return plan.count - len(unfinished)


def _candidates_paid(runs: Sequence[RunRecord]) -> int:
    """Return how many candidates have their scores, written or not: the most that a run ranked.

    A run that continues another begins at 0, until it has read the answers that the other one paid.
    """
    if not runs:
        return 0
    of_this_input = [run for run in runs if run.candidates == runs[-1].candidates]
    return max(run.candidates_done for run in of_this_input)


def _percent(state: str, paid: int, candidates: int | None) -> float | None:
    if state == "done":
        return 100.0
    return round(100 * paid / candidates, 1) if candidates else None


def _speed(last: RunRecord, *, is_running: bool) -> dict[str, Any]:
    """Return the recent speed of a running run, or the overall speed of one that has ended."""
    recent = last.ticks.recent() if is_running else None
    if recent is None:
        per_s = last.requests / last.seconds if last.seconds else 0.0
        return {"requests_per_s": round(per_s, 2), "seconds_left": None, "limited_by": None}
    left = None
    if last.candidates is not None and recent.candidates > 0:
        rate = recent.candidates / recent.seconds
        left = round((last.candidates - last.candidates_done) / rate)
    return {
        "requests_per_s": round(recent.requests_per_s, 2),
        "seconds_left": left,
        "limited_by": recent.bound_by or None,
    }
