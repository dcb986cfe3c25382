"""What a backfill ends with, and its sums."""

import signal
from itertools import permutations

import pytest

from pipeline.core.errors import (
    CostLimitReached,
    InputError,
    Interrupted,
    OutageTooLong,
    OutputBusy,
    OutputFailed,
    OutputMismatch,
    RerankError,
    ServiceRefused,
    TooManyRejects,
)
from pipeline.dataset.backfill_result import PartitionResult, total, worst_error
from pipeline.dataset.summary import RunSummary

WORST_FIRST = (
    *(ServiceRefused, CostLimitReached, OutageTooLong, OutputFailed, InputError),
    *(OutputMismatch, OutputBusy, TooManyRejects),
)


def results(*errors: RerankError | None) -> list[PartitionResult]:
    return [PartitionResult(name=f"dt={n}", error=error) for n, error in enumerate(errors)]


@pytest.mark.parametrize("pair", list(permutations(range(len(WORST_FIRST)), 2)))
def test_a_backfill_ends_with_the_worst_error_of_a_partition(pair: tuple[int, int]) -> None:
    errors = [WORST_FIRST[place]("failed") for place in pair]

    worst = worst_error(results(None, *errors))

    assert worst is errors[pair.index(min(pair))]


def test_a_signal_comes_before_any_error() -> None:
    interrupted = Interrupted(signal.SIGTERM)

    assert worst_error(results(ServiceRefused("no"), interrupted)) is interrupted


def test_a_backfill_without_an_error_ends_without_one() -> None:
    assert worst_error(results(None, None)) is None


def test_numbers_are_added_up() -> None:
    one = RunSummary(requests=2, cost_usd=0.5, candidates=7, groups_done=1)
    other = RunSummary(requests=3, cost_usd=0.25, candidates=None, groups_done=4)

    sums = total([one, other], state="done", seconds=9.0)

    assert (sums.requests, sums.cost_usd, sums.candidates, sums.groups_done) == (5, 0.75, 7, 5)
    assert (sums.state, sums.seconds) == ("done", 9.0)
