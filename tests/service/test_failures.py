"""What a failure says about the service, and about the bill."""

import pytest

from pipeline.core.errors import BadAnswer, Rejected, RequestError, Throttled, TooLarge, Transient
from pipeline.service.failures import (
    CONNECTION_LOST,
    TIMEOUT,
    UNREACHABLE,
    UNREADABLE,
    UNTRUSTED,
    describe,
    is_outage,
    is_reached,
    may_be_billed,
    refuses_all,
)


@pytest.mark.parametrize(
    ("error", "down", "refusing", "billed"),
    [
        (Transient("x", status=500), True, False, False),
        (Transient("x", status=503), True, False, False),
        (Transient(UNREACHABLE), True, False, False),
        (Transient(TIMEOUT), True, False, True),
        (Transient(CONNECTION_LOST), True, False, True),
        (Transient(UNREADABLE), True, False, True),
        (Transient(UNTRUSTED), False, True, False),
        (BadAnswer("not_json", status=200), False, False, True),
        (Throttled("x", status=503), False, False, False),
        (TooLarge("x", status=413), False, False, False),
        (Rejected("x", status=400), False, False, False),
        (Rejected("x", status=410), False, True, False),
        (Rejected("x", status=302), False, True, False),
        (Rejected("x", status=404), False, True, False),
    ],
)
def test_a_failure_speaks_of_an_outage_of_a_wrong_service_or_of_the_bill(
    error: RequestError, down: bool, refusing: bool, billed: bool
) -> None:
    assert is_outage(error) is down
    assert refuses_all(error) is refusing
    assert may_be_billed(error) is billed


@pytest.mark.parametrize("code", [UNREACHABLE, UNTRUSTED])
def test_a_service_is_reached_once_a_connection_was_opened(code: str) -> None:
    assert not is_reached(Transient(code))
    assert is_reached(Transient(CONNECTION_LOST))


def test_a_failure_is_described_by_status_code_and_message() -> None:
    assert describe(Rejected("gone", "moved on", status=410)) == "HTTP 410, gone: moved on"
    assert describe(Transient(TIMEOUT)) == "timeout"
