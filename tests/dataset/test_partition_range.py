"""Which partitions a range covers."""

from pathlib import Path

import pytest

from pipeline.core.errors import InputError, RerankError, SettingsError
from pipeline.dataset.partition_range import Order, PartitionRange
from pipeline.storage.location import locate


def select(
    root: Path, values: list[str], first: str, last: str, order: Order = "oldest", key: str = "dt"
) -> list[str]:
    for value in values:
        (root / f"dt={value}").mkdir()
    found = PartitionRange(key, first, last).select(locate(str(root)), order)
    return [partition.value for partition in found]


DAYS = ["2026-10-31", "2026-11-01", "2026-11-02", "2026-11-03"]


def test_both_bounds_are_included(tmp_path: Path) -> None:
    assert select(tmp_path, DAYS, "2026-11-01", "2026-11-02") == DAYS[1:3]


def test_the_newest_may_come_first(tmp_path: Path) -> None:
    assert select(tmp_path, DAYS, "2026-11-01", "2026-12-31", "newest") == DAYS[:0:-1]


def test_integers_are_ordered_as_numbers(tmp_path: Path) -> None:
    assert select(tmp_path, ["10", "9", "1"], "2", "10") == ["9", "10"]


def test_anything_else_is_ordered_as_text(tmp_path: Path) -> None:
    assert select(tmp_path, ["2026-W01", "2026-W10", "2027"], "2026", "2026-W99") == [
        *("2026-W01", "2026-W10")
    ]


@pytest.mark.parametrize(
    ("first", "last", "told"),
    [
        ("2026-02-30", "2026-03-01", "--from: is no date"),
        ("2026-11-01", "tomorrow", "--to: is no date"),
        ("2026-11-02", "2026-11-01", "the range is empty"),
        ("9", "1", "the range is empty"),
    ],
)
def test_bounds_that_make_no_range_are_refused(first: str, last: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        PartitionRange("dt", first, last)


@pytest.mark.parametrize(
    ("values", "key", "told"),
    [
        (["2026-10-01"], "dt", "no partition dt=VALUE/ in the range"),
        (["20261101"], "dt", "dt=20261101: its value is not a date .YYYY-MM-DD"),
        ([], "dt", "no partition dt=VALUE/ in the range"),
        (["2026-11-01", "latest"], "dt", "dt=latest: its value is not a date"),
        (["2026-11-01"], "day", "another key .found dt, expected day.*--partition-key dt"),
    ],
)
def test_folders_that_do_not_fit_are_refused(
    values: list[str], key: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=told):
        select(tmp_path, values, "2026-11-01", "2026-11-30", key=key)


def test_two_keys_are_refused(tmp_path: Path) -> None:
    (tmp_path / "day=1").mkdir()

    with pytest.raises(RerankError, match="several keys"):
        select(tmp_path, ["2026-11-01"], "2026-11-01", "2026-11-30")
