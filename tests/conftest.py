"""Fixtures that tests of several folders share."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from support.real_runs import Service, service

_HERE = Path(__file__).parent

settings.register_profile("tests", deadline=None)  # how long an example takes is the machine's
settings.load_profile("tests")
_HERE = Path(__file__).parent

settings.register_profile(
    "mutants",  # `make mutants`: the same examples each time, and none made smaller
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
)


_FIRST = ("promises", "docs", "jobs", "api")
"""Folders whose files take longest: begun first, they leave no worker alone with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(_HERE).parts[0]
        return _FIRST.index(folder) if folder in _FIRST else len(_FIRST)

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Leave modules and tests out of garbage collections: they stay, and there are many."""
    gc.collect()
    gc.freeze()


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
