"""Every awkward file of the shared set ends in a complete output, or in exit 3 by its name."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.real_runs import HOSTILE, Service, needs_hostile, ranked, rerank_here, service

NAMES = (
    sorted(path.name for path in HOSTILE.iterdir() if path.suffix not in {".md", ".json"})
    if HOSTILE.exists()
    else []
)
CUT = {"21_many_tiny_groups.parquet": ("--limit", "100")}
"""What would take minutes at the service's pace."""

pytestmark = needs_hostile


@pytest.fixture(scope="module")
def emulator() -> Iterator[Service]:
    with service() as running:
        yield running


def num_rows(given: Path) -> int:
    files = [given] if given.is_file() else [*given.rglob("[!.]*.parquet")]
    return sum(pq.read_metadata(file).num_rows for file in files)


@pytest.mark.parametrize("name", NAMES)
def test_an_awkward_file_gives_a_complete_output_or_is_named(
    name: str, tmp_path: Path, emulator: Service
) -> None:
    options = CUT.get(name, ())

    ended = rerank_here("run", HOSTILE / name, tmp_path / "out", *emulator.options, *options)

    assert ended.code in (0, 3), ended.err
    if ended.code == 3:
        assert name in ended.failure
    elif not options and "nested" not in name:
        assert len(ranked(tmp_path / "out")) == num_rows(HOSTILE / name)


@pytest.mark.parametrize("name", NAMES)
def test_an_awkward_file_is_sorted_or_is_named(name: str, tmp_path: Path) -> None:
    target = tmp_path / "out.parquet"

    ended = rerank_here("prepare", HOSTILE / name, target, "--sort-input")

    assert ended.code in (0, 3), ended.err
    if ended.code == 3:
        assert name in ended.failure
        assert [*tmp_path.iterdir()] == []
    elif "nested" not in name:
        rows = pq.read_table(target).to_pylist()
        ids = [row["query_id"] for row in rows]
        changes = sum(one != other for one, other in pairwise(ids))
        assert changes == max(0, len({*ids}) - 1)
        assert len(rows) == num_rows(HOSTILE / name)
