"""A small record of each run on an output, in `_runs/`: times, end, requests, reuse, cost.

It is written at the start with state `running`, again with each update, and a last time at the
end. A record that still says `running` long after its last update is of a run that was killed.
What differs from run to run stands here alone, so that the results are the same bytes.

Everything here blocks on files: call it in a thread.
"""

import json
import logging
import os
import platform
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pipeline.storage.location import Location

RUNS_FOLDER = "_runs"
_NAMED_BY = "%Y%m%dT%H%M%S.%fZ"
_log = logging.getLogger(__name__)


class RunRecord:
    """This run's record; the composition updates it every few seconds.

    Args:
        output: The output folder.
        facts: What is known at the start, by name.
        clock: Seconds since 1970.
    """

    def __init__(
        self, output: Location, *, clock: Callable[[], float] = time.time, **facts: object
    ) -> None:
        self._clock = clock
        started = datetime.fromtimestamp(clock(), UTC)
        self.run_id = f"{_next_moment(output, started)}-{uuid.uuid4().hex[:6]}"
        self._file = output.child(RUNS_FOLDER, f"{self.run_id}.json")
        self.facts: dict[str, Any] = {
            "run_id": self.run_id,
            "state": "running",
            "started": started.isoformat(timespec="seconds"),
            "updated": None,
            "ended": None,
            "exit_code": None,
            "error": None,
            "host": platform.node(),
            "pid": os.getpid(),
        }
        self.update(**facts)

    def update(self, **facts: object) -> None:
        """Write the record with these facts added or replaced.

        Raises:
            OutputFailed: if it cannot be written.
        """
        now = datetime.fromtimestamp(self._clock(), UTC)
        self.facts |= facts | {"updated": now.isoformat(timespec="seconds")}
        self._file.publish(json.dumps(self.facts, indent=1, default=str).encode())

    def finish(
        self,
        state: Literal["done", "partial", "failed", "interrupted"],
        exit_code: int,
        error: str | None = None,
        **facts: object,
    ) -> None:
        """Write the record's last form.

        Raises:
            OutputFailed: if it cannot be written.
        """
        ended = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds")
        self.update(state=state, exit_code=exit_code, error=error, ended=ended, **facts)


def _next_moment(output: Location, now: datetime) -> str:
    """The beginning of a record's name; names are the order of the runs, whatever clocks do."""
    moments = (_moment(name.partition("-")[0]) for name in _names(output))
    after = [moment + timedelta(microseconds=1) for moment in moments if moment is not None]
    return f"{max([now, *after]):{_NAMED_BY}}"


def _moment(stem: str) -> datetime | None:
    try:
        return datetime.strptime(stem, _NAMED_BY).replace(tzinfo=UTC)
    except ValueError:
        return None


def _names(output: Location) -> list[str]:
    """The names of the records, oldest first."""
    names = (info.base_name for info in output.child(RUNS_FOLDER).children())
    return [name for name in names if name.endswith(".json") and not name.startswith(".")]


def read_run_records(output: Location) -> list[dict[str, Any]]:
    """The records of all runs on the output, oldest first; a damaged one is left out.

    Raises:
        OutputFailed: if they are there and cannot be read.
    """
    records = []
    for name in _names(output):
        content = output.child(RUNS_FOLDER, name).read()
        try:
            record = dict(json.loads(content or b""))
        except (ValueError, TypeError):
            record = None
        if isinstance(record, dict):
            records.append(record)
        else:
            _log.warning("run_record.damaged name=%s", name)
    return records
