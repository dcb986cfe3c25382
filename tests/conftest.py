"""Fixtures that tests of several folders share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from support.real_runs import Service, service

settings.register_profile(
    "mutants",  # `make mutants`: the same examples each time, and none made smaller
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
)


@pytest.fixture(scope="session")
def quick_service() -> Iterator[Service]:
    """Run an emulator that answers at once, for the whole session."""
    with service() as running:
        yield running


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Return the path of an output folder that does not exist yet."""
    return tmp_path / "out"


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name bytes by their number: compressed ones hold the time, and workers compare names."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) else None
