"""What tests of several files share: services that live as long as the whole session."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.real_runs import Service, service


@pytest.fixture(scope="session")
def quick_service() -> Iterator[Service]:
    """An emulator that answers at once."""
    with service() as running:
        yield running


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A folder for an output, which does not exist yet."""
    return tmp_path / "out"
