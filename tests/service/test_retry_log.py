"""Retries in the log: the first at once, the others counted, by a clock of the test."""

import logging
from typing import Any

import pytest

from pipeline.service.retry_log import RetryLog


def logged(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the fields of the events since this was asked last."""
    fields = [record.fields for record in caplog.records]  # type: ignore[attr-defined]
    caplog.clear()
    return fields


def test_a_first_retry_is_logged_at_once_and_later_ones_together(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 100.0
    retries = RetryLog(lambda: now, every_s=10)
    with caplog.at_level(logging.WARNING):
        retries.add("timeout", 1.0)
        first = logged(caplog)
        for second in range(1, 10):
            now = 100.0 + second
            retries.add("503", 0.5 * second)
        between = logged(caplog)
        now = 110.0
        retries.add("timeout", 2.04)

    assert first == [{"retries": 1, "codes": {"timeout": 1}, "longest_wait_s": 1.0}]
    assert between == []
    assert logged(caplog) == [
        {"retries": 10, "codes": {"503": 9, "timeout": 1}, "longest_wait_s": 4.5}
    ]
