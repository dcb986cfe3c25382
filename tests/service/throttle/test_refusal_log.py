"""Refusals in the log."""

import logging

import pytest

from pipeline.core.errors import Throttled
from pipeline.service.throttle.adaptive_rate import AdaptiveRate
from pipeline.service.throttle.refusal_log import RefusalLog


def logged(caplog: pytest.LogCaptureFixture, refusals: list[tuple[float, bool]]) -> list[int]:
    """Record refusals (time, whether it is new); return how many each line of the log counts."""
    refusal_log = RefusalLog()
    with caplog.at_level(logging.WARNING):
        for now, is_new in refusals:
            refusal_log.record(
                now,
                Throttled("Throttling"),
                is_new=is_new,
                requests=AdaptiveRate(10.0),
                tokens=AdaptiveRate(None),
                pause_s=1.0,
            )
    return [record.fields["refused"] for record in caplog.records]


def test_refusals_within_ten_seconds_are_one_line(caplog) -> None:
    assert logged(caplog, [(5.0, True), (6.0, True), (14.9, True), (15.0, True)]) == [1, 3]


def test_refusals_that_change_nothing_are_counted_in_the_next_line(caplog) -> None:
    assert logged(caplog, [(5.0, False), (6.0, False), (7.0, True)]) == [3]


def test_a_limit_that_is_not_known_is_logged_as_none(caplog) -> None:
    logged(caplog, [(5.0, True)])

    (record,) = caplog.records
    assert (record.fields["requests_per_s"], record.fields["tokens_per_s"]) == (10.0, None)
