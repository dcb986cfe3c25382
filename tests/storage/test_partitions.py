"""Hive partitions of a folder."""

from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.storage.location import locate
from pipeline.storage.partitions import list_partitions


def made(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
    return root


def test_partitions_are_the_folders_key_value_by_name(tmp_path: Path) -> None:
    made(tmp_path, "dt=2026-11-02", "dt=2026-11-01", "dt=a%2Fb", "_scores", "_x=1", ".y=2", "plain")
    (tmp_path / "dt=file").write_text("")

    found = list_partitions(locate(str(tmp_path)))

    assert [(p.key, p.value, p.folder) for p in found] == [
        ("dt", "2026-11-01", "dt=2026-11-01"),
        ("dt", "2026-11-02", "dt=2026-11-02"),
        ("dt", "a/b", "dt=a%2Fb"),
    ]


def test_two_keys_are_refused_by_name(tmp_path: Path) -> None:
    made(tmp_path, "dt=1", "day=1")

    with pytest.raises(InputError, match=r"several keys \(found day, dt"):
        list_partitions(locate(str(tmp_path)))


def test_two_folders_of_one_value_are_refused_by_name(tmp_path: Path) -> None:
    made(tmp_path, "k=%C3%BC", "k=ü")

    with pytest.raises(InputError, match=r"same value \(found k=%C3%BC, k=ü, expected one folder"):
        list_partitions(locate(str(tmp_path)))


@pytest.mark.parametrize("name", ["dt=%FF", "dt=\udcff"])
def test_a_value_that_is_not_utf8_is_refused(name: str, tmp_path: Path) -> None:
    made(tmp_path, name)

    with pytest.raises(InputError, match="not UTF-8"):
        list_partitions(locate(str(tmp_path)))


def test_a_folder_without_partitions_has_none(tmp_path: Path) -> None:
    assert list_partitions(locate(str(tmp_path / "gone"))) == []
