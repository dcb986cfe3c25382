"""Tests that need more than the project installs, or minutes: collected only where named."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # for the helpers of the other tests


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave them out unless the command line names this folder or a file in it."""
    named = [Path(config.invocation_params.dir, arg.partition("::")[0]) for arg in config.args]
    wanted = any(path.resolve().is_relative_to(HERE) for path in named)
    return None if wanted or not collection_path.is_relative_to(HERE) else True
