"""The limit on open files is raised as far as needed, or fewer requests are in flight."""

import logging
import resource
from collections.abc import Iterator

import pytest

from pipeline.core.settings import Pace
from pipeline.service.open_files import OTHER_FILES, fit_open_files


@pytest.fixture
def hard_limit() -> Iterator[int]:
    """Restore this process's limit after the test; return how far it may be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        yield hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_limit_is_raised_to_what_the_requests_need(hard_limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard_limit))
    pace = Pace(max_in_flight=400)

    assert fit_open_files(pace) == pace
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (400 + OTHER_FILES, hard_limit)


def test_a_limit_that_suffices_is_left_alone(hard_limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (1_000, hard_limit))

    fit_open_files(Pace(max_in_flight=128))

    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1_000


def test_more_than_the_system_allows_is_lowered_with_a_warning(
    hard_limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    if hard_limit == resource.RLIM_INFINITY:
        pytest.skip("the system has no limit")
    with caplog.at_level(logging.WARNING):
        pace = fit_open_files(Pace(max_in_flight=hard_limit, requests_per_minute=5))

    assert pace == Pace(max_in_flight=hard_limit - OTHER_FILES, requests_per_minute=5)
    (record,) = caplog.records
    assert record.event == "pace.few_files"  # type: ignore[attr-defined]
    assert record.fields["wanted"] == hard_limit  # type: ignore[attr-defined]
