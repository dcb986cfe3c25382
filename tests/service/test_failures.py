"""What a failure says about the service, and about the bill."""

import pytest

from pipeline.core.errors import BadAnswer, Rejected, RequestError, Throttled, Transient
from pipeline.service.failures import (
    CONNECTION_LOST,
    TIMEOUT,
    UNREACHABLE,
    is_service_down,
    may_be_billed,
)


@pytest.mark.parametrize(
    ("error", "is_down", "is_billed"),
    [
        (Transient("x", status=502), True, False),
        (Transient("x", status=503), True, False),
        (Transient("x", status=504), True, False),
        (Transient(UNREACHABLE), True, False),
        (Transient("x", status=500), False, False),
        (Transient(TIMEOUT), False, True),
        (Transient(CONNECTION_LOST), False, True),
        (BadAnswer("not_json", status=200), False, True),
        (Throttled("x", status=503), False, False),
        (Rejected("x", status=400), False, False),
    ],
)
def test_a_failure_speaks_of_the_service_or_of_the_request(
    error: RequestError, is_down: bool, is_billed: bool
) -> None:
    assert is_service_down(error) is is_down
    assert may_be_billed(error) is is_billed
