"""A small record of each run on an output, in `_runs/`: times, end, requests, reuse, cost.

Only records hold facts that differ from run to run, so results are the same bytes in every run. A
record is written at the start with state `running`, again every few seconds, and a last time at the
end. One that says `running` long after its last update belongs to a run that was killed. Records
serve observers: a failed write is logged and does not stop the run. But the amount that a run may
spend is recorded before it is spent: a requested write is waited for.
"""

import asyncio
import logging
import os
import platform
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct, field
from msgspec.structs import asdict, replace

from pipeline.core.background import background
from pipeline.core.errors import Interrupted, OutputFailed, RerankError, first_leaf
from pipeline.core.events import log_event
from pipeline.output.layout import RUNS_FOLDER
from pipeline.output.run_record_writer import RecordWriter, log_not_written
from pipeline.output.ticks import Ticks
from pipeline.storage.location import Location

EndState: TypeAlias = Literal["interrupted", "failed", "partial", "done"]
State: TypeAlias = Literal["running", "interrupted", "failed", "partial", "done"]

LOCAL_UPDATE_S, REMOTE_UPDATE_S = 2.0, 5.0
"""How old a record may be when its run is killed."""

_NAMED_BY = "%Y%m%dT%H%M%S.%fZ"
_log = logging.getLogger(__name__)


class RunFacts(Struct, frozen=True, kw_only=True):
    """The facts of a record other than numbers; times are ISO 8601 in UTC.

    Attributes:
        error: Why the run ended early, in one line.
    """

    run_id: str
    state: State = "running"
    started: str
    updated: str | None = None
    ended: str | None = None
    exit_code: int | None = None
    error: str | None = None
    host: str = ""
    pid: int = 0
    input: str = ""
    model: str = ""


class RunRecord(RunFacts, frozen=True, kw_only=True):
    """A record as it is read, with the numbers that are summed over runs; the file may hold more.

    Attributes:
        limits: The limits that the run was started with, by the names of `Pace`, and
            `max_cost_usd`.
        latency_histogram: Upper end of a bucket of latencies in milliseconds, and how many answered
            requests lie in it; neighbouring buckets differ by 9 %.
        ticks: How the run went over time.
        shard: `I/N` of a run with --shard, whose numbers are of its share alone.
    """

    shard: str | None = None
    groups: int | None = None
    groups_ranked: int = 0
    parts: int | None = None
    candidates: int | None = None
    candidates_done: int = 0
    requests: int = 0
    requests_sent: int = 0
    requests_failed: int = 0
    requests_reused: int = 0
    total_tokens: int = 0
    search_units: int = 0
    cost_usd: float = 0.0
    unanswered: int = 0
    unanswered_usd: float = 0.0
    cost_at_most_usd: float = 0.0
    retries: int = 0
    throttled: int = 0
    outage_s: float = 0.0
    seconds: float = 0.0
    limits: dict[str, float] = field(default_factory=dict)
    latency_histogram: list[tuple[float, int]] = field(default_factory=list)
    ticks: Ticks = field(default_factory=Ticks)

    @property
    def spent_usd(self) -> float:
        """The amount that the run may have cost; for a killed run, the amount stated last."""
        return max(self.cost_at_most_usd, self.cost_usd + self.unanswered_usd)


@asynccontextmanager
async def recorded_run(
    output: Location,
    *,
    input_name: str,
    model: str,
    snapshot: Callable[[], Mapping[str, Any]],
    on_end: Callable[[EndState], None],
    is_partial: Callable[[], bool],
    clock: Callable[[], float] = time.time,
    update_s: float | None = None,
) -> AsyncIterator[RecordWriter]:
    """Keep a record of the body up to date while it runs, and close it however the body ends.

    Args:
        output: The output folder.
        input_name: What the run reads.
        model: What it asks.
        snapshot: Returns the run's numbers as they are now by name, as values for JSON.
        on_end: Called with how the body ended, before the last snapshot.
        is_partial: Returns whether a body that ended without an error left too much undone.
        clock: Seconds since 1970.
        update_s: Seconds between two updates; 2 on disk, 5 on an object store.

    Yields:
        Writes the record when it is asked to.
    """
    facts = await asyncio.to_thread(_begin, output, input_name, model, clock)
    file = output.child(RUNS_FOLDER, f"{facts.run_id}.json")

    async def publish(facts: RunFacts) -> None:
        content = _encode(asdict(replace(facts, updated=_time(clock))) | dict(snapshot()))
        await asyncio.to_thread(file.publish, content)

    try:
        await publish(facts)
    except OutputFailed as failure:
        log_not_written(failure)
    update_s = update_s or (LOCAL_UPDATE_S if output.is_local else REMOTE_UPDATE_S)
    writer = RecordWriter(lambda: publish(facts), update_s)
    async with background(writer.run(), name="run-record") as updating:
        state: EndState = "failed"
        exit_code, message = 1, None
        try:
            yield writer
            state, exit_code = ("partial", 7) if is_partial() else ("done", 0)
        except BaseException as error:  # any error is recorded, and raised again
            leaf = first_leaf(error)
            message = str(leaf) or type(leaf).__name__
            exit_code = leaf.exit_code if isinstance(leaf, RerankError) else 1
            state = "interrupted" if isinstance(leaf, Interrupted) else "failed"
            raise
        finally:
            writer.end()
            await updating  # not cancelled: its last write must not come after the final one
            on_end(state)
            ended = _time(clock)
            last = replace(facts, state=state, ended=ended, exit_code=exit_code, error=message)
            try:
                await publish(last)
            except OutputFailed as failure:
                log_not_written(failure)


def read_run_records(output: Location) -> list[RunRecord]:
    """Return the records of all runs on the output, oldest first; damaged ones are left out.

    Raises:
        OutputFailed: if they are there and cannot be read.
    """
    records = []
    for name in _names(output):
        content = output.child(RUNS_FOLDER, name).read()
        try:
            records.append(msgspec.json.decode(content or b"", type=RunRecord))
        except msgspec.MsgspecError as error:
            log_event(_log, logging.WARNING, "run_record.damaged", name=name, error=str(error))
    return records


def read_spent_usd(output: Location) -> float:
    """Return what all runs on the output may have cost, in US dollars.

    Raises:
        OutputFailed: if their records are there and cannot be read.
    """
    return sum(record.spent_usd for record in read_run_records(output))


def _begin(output: Location, input_name: str, model: str, clock: Callable[[], float]) -> RunFacts:
    now = datetime.fromtimestamp(clock(), UTC)
    try:
        names = _names(output)
    except OutputFailed as failure:
        log_event(_log, logging.WARNING, "run_record.not_listed", error=str(failure))
        names = []
    return RunFacts(
        run_id=f"{_next_moment(names, now)}-{uuid.uuid4().hex[:6]}",
        started=now.isoformat(timespec="seconds"),
        host=platform.node(),
        pid=os.getpid(),
        input=input_name,
        model=model,
    )


def _encode(content: Mapping[str, Any]) -> bytes:
    """Return a JSON object with a line per value; a list, or an object of lists, is one line."""
    lines = (
        f" {msgspec.json.encode(name).decode()}: {_encode_value(value)}"
        for name, value in content.items()
    )
    return ("{\n" + ",\n".join(lines) + "\n}").encode()


def _encode_value(value: Any) -> str:
    encoded = msgspec.json.encode(value)
    if isinstance(value, Mapping):
        encoded = msgspec.json.format(encoded, indent=1).replace(b"\n", b"\n ")
    return encoded.decode()


def _time(clock: Callable[[], float]) -> str:
    return datetime.fromtimestamp(clock(), UTC).isoformat(timespec="seconds")


def _next_moment(names: Iterable[str], now: datetime) -> str:
    """Return the beginning of a record's name; names keep the order of runs, whatever clocks do."""
    moments = (_moment(name.partition("-")[0]) for name in names)
    after = [moment + timedelta(microseconds=1) for moment in moments if moment is not None]
    return f"{max([now, *after]):{_NAMED_BY}}"


def _moment(stem: str) -> datetime | None:
    try:
        return datetime.strptime(stem, _NAMED_BY).replace(tzinfo=UTC)
    except ValueError:
        return None


def _names(output: Location) -> list[str]:
    """Return the names of the records, oldest first."""
    names = (info.base_name for info in output.child(RUNS_FOLDER).children())
    return [name for name in names if name.endswith(".json") and not name.startswith(".")]
