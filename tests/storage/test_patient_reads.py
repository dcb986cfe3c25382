"""Reads of a store that answered before are insisted on; a store that never did fails at once."""

import pytest

from pipeline.core.backoff import Backoff
from pipeline.storage.errors import ChangedObject, MissingObject, StoreError
from pipeline.storage.patient_reads import PatientReads
from pipeline.storage.retries import Patience

SLOW_DOWN = StoreError("503 SlowDown")


class Reading:
    """Reads with a script of failures, and a clock that waits move on."""

    def __init__(self, *script: Exception | None, max_outage_s: float = 60.0) -> None:
        self.script, self.now, self.calls, self.stopped_at = list(script), 0.0, 0, 1e9
        patience = Patience(max_outage_s=max_outage_s, backoff=Backoff(first_s=1.0, cap_s=10.0))
        self.reads = PatientReads(
            patience,
            lambda: self.now >= self.stopped_at,
            clock=lambda: self.now,
            sleep=self.sleep,
        )

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def read(self) -> str:
        def act() -> str:
            self.calls += 1
            error = self.script.pop(0) if self.script else None
            if error is not None:
                raise error
            return "content"

        return self.reads(act, "lake/part.parquet")


def test_a_store_that_never_answered_is_not_insisted_on() -> None:
    reading = Reading(SLOW_DOWN)

    with pytest.raises(StoreError, match="SlowDown"):
        reading.read()

    assert (reading.calls, reading.now) == (1, 0.0)


def test_a_store_that_answered_before_is_waited_for() -> None:
    reading = Reading(None, *[SLOW_DOWN] * 5)
    reading.read()

    assert reading.read() == "content"
    assert reading.now == pytest.approx(1 + 2 + 4 + 8 + 10)


def test_it_is_waited_for_as_long_as_allowed() -> None:
    reading = Reading(None, *[SLOW_DOWN] * 100)
    reading.read()

    with pytest.raises(StoreError, match="SlowDown"):
        reading.read()

    assert 45 <= reading.now <= 60


@pytest.mark.parametrize(
    "error",
    [
        MissingObject("no such object"),
        ChangedObject("it was replaced"),
        StoreError("access denied", is_lasting=True),
    ],
)
def test_what_no_wait_mends_fails_at_once(error: StoreError) -> None:
    reading = Reading(None, error)
    reading.read()

    with pytest.raises(type(error)):
        reading.read()

    assert reading.now == 0.0


def test_a_wait_ends_soon_once_nobody_wants_the_result() -> None:
    reading = Reading(None, *[SLOW_DOWN] * 100)
    reading.read()
    reading.stopped_at = 20.0

    with pytest.raises(StoreError):
        reading.read()

    assert 20 <= reading.now < 20.2
