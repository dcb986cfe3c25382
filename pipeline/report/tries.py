"""Every run on an output, as one story: what each did, what limited it, and how it ended."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from msgspec import Struct

from pipeline.core.errors import InputError, OutputFailed
from pipeline.output.layout import SUCCESS_NAME
from pipeline.output.lock.output_lock import is_held
from pipeline.output.run_records import RunRecord, State, read_run_records
from pipeline.output.ticks import Stretch
from pipeline.storage.location import Location

MAX_STRETCHES: Final = 200
"""Most stretches of all tries; a chart of more is no clearer."""


class Try(Struct, frozen=True, kw_only=True):
    """One run on the output.

    Attributes:
        number: From 1, oldest first.
        record: What it recorded.
        state: How it ended: the recorded state, but for a run that was killed or still goes on.
        start_s: When it began, in seconds of running since the first run began.
        bound_by: What held it back for most of the time; empty if nothing is known.
        stretches: What it did over time.
    """

    number: int
    record: RunRecord
    state: State
    start_s: float
    bound_by: str
    stretches: tuple[Stretch, ...]

    @property
    def seconds(self) -> float:
        """How long it took, as far as it is known."""
        last = self.stretches[-1] if self.stretches else None
        return max(self.record.seconds, 0.0 if last is None else last.start_s + last.seconds)


class Story(Struct, frozen=True, kw_only=True):
    """All runs on an output.

    Attributes:
        state: The state of the output now.
        tries: Oldest first.
    """

    state: State
    tries: tuple[Try, ...]

    @property
    def seconds(self) -> float:
        """How long all tries took together."""
        return sum(one.seconds for one in self.tries)

    @property
    def is_side_by_side(self) -> bool:
        """Whether some tries went on at the same time, as those of shards do."""
        records = [one.record for one in self.tries]
        return any(
            later.started < (earlier.ended or earlier.updated or "")
            for earlier, later in pairwise(records)
        )

    def total(self, name: str) -> float:
        """Return the sum of a number of the records."""
        return float(sum(getattr(one.record, name) for one in self.tries))

    def bound_s(self) -> Mapping[str, float]:
        """Return the seconds by what held the tries back, most first."""
        seconds: Counter[str] = Counter()
        for one in self.tries:
            for stretch in one.stretches:
                for cause, amount in stretch.bound_s.items():
                    seconds[cause] += amount  # type: ignore[assignment]
        return dict(seconds.most_common())

    def latencies(self) -> list[tuple[float, int]]:
        """Return the upper ends of the buckets of latencies, in ms, and the requests in each."""
        counts: Counter[float] = Counter()
        for one in self.tries:
            for upper_ms, count in one.record.latency_histogram:
                counts[upper_ms] += count
        return sorted(counts.items())


def read_story(output: Location) -> Story:
    """Read the records of all runs on an output.

    Raises:
        InputError: if they cannot be read.
    """
    try:
        records = read_run_records(output)
        state = _state(output, records)
    except OutputFailed as error:
        raise InputError(error.what, which=error.which) from error
    tries = list[Try]()
    start_s = 0.0
    for number, record in enumerate(records, start=1):
        ticks = record.ticks.coarser(max(4, MAX_STRETCHES // len(records)))
        total = ticks.total()
        one = Try(
            number=number,
            record=record,
            state=state if record is records[-1] else _ended(record),
            start_s=start_s,
            bound_by="" if total is None else total.bound_by,
            stretches=tuple(ticks.stretches()),
        )
        tries.append(one)
        start_s += one.seconds
    return Story(state=state, tries=tuple(tries))


def _ended(record: RunRecord) -> State:
    """Return how an earlier run ended; one without a recorded end was killed."""
    return "interrupted" if record.state == "running" else record.state


def _state(output: Location, records: Sequence[RunRecord]) -> State:
    last = records[-1].state if records else "running"
    if last == "running" and is_held(output):
        return last
    if last not in ("running", "done"):
        return last
    return "done" if output.child(SUCCESS_NAME).exists() else "interrupted"
