"""Notes of use: what was used, when last, and how the notes are folded."""

import re
from pathlib import Path

import numpy as np
import pytest
from support.hostile_files import hostile
from support.score_stores import NOW

from pipeline.score_store.last_used import FEW_FILES, fold_files, read_last_used, record_use
from pipeline.storage.files import FileInfo
from pipeline.storage.location import Location, locate

NOW_US = int(NOW * 1e6)


def use(folder: Location, *prefixes: int, after_s: float = 0.0) -> None:
    record_use(folder, np.array(prefixes, np.uint64), NOW + after_s)


def last_used(folder: Location) -> dict[int, float]:
    """Return the seconds after `NOW` at which each key was used last."""
    prefixes, used_at_us = read_last_used(folder)
    assert prefixes.tolist() == sorted(set(prefixes.tolist()))
    assert (prefixes.dtype, used_at_us.dtype) == (np.uint64, np.int64)
    times = (used_at_us - NOW_US) / 1e6
    return dict(zip(prefixes.tolist(), times.tolist(), strict=True))


def test_of_several_uses_the_last_counts(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    assert last_used(folder) == {}
    use(folder, 3, 2**64 - 1, 3, after_s=10)
    use(folder, 3, 2, after_s=5)
    use(folder, 2**64 - 1, after_s=15)

    assert last_used(folder) == {2: 5, 3: 10, 2**64 - 1: 15}


@pytest.mark.usefixtures("tokyo")
def test_a_note_is_named_by_its_time_and_holds_each_key_once(tmp_path: Path) -> None:
    record_use(locate(str(tmp_path)), np.array([7, 7, 7, 1], np.uint64), 1.8e9)
    record_use(locate(str(tmp_path / "once")), np.array([7, 1], np.uint64), 1.8e9)

    (note,) = (path for path in tmp_path.iterdir() if path.is_file())
    (other,) = (tmp_path / "once").iterdir()
    assert re.fullmatch(r"used-20270115T080000-[0-9a-f]{8}\.arrows", note.name)
    assert note.read_bytes() == other.read_bytes()


def test_who_used_nothing_leaves_no_note(tmp_path: Path) -> None:
    use(locate(str(tmp_path / "none")))

    assert not (tmp_path / "none").exists()


def test_a_damaged_note_or_one_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    use(folder, 1)
    use(folder, 3)
    (tmp_path / "used-0-damaged.arrows").write_bytes(b"no stream at all, but bytes of one line")
    (tmp_path / "used-1-torn.arrows").write_bytes(next(tmp_path.glob("used-2*")).read_bytes()[:100])
    gone = FileInfo(str(tmp_path / "used-0-gone.arrows"), 10)
    listed = hostile(tmp_path, lambda found: [gone, *found])

    assert last_used(listed) == {1: 0, 3: 0}


def test_more_than_sixteen_notes_are_folded_into_one(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    for number in range(FEW_FILES):
        use(folder, number, 99, after_s=number)
    fold_files(folder, NOW)
    assert len(folder.children()) == 16

    use(folder, 50)
    before = last_used(folder)
    fold_files(folder, NOW + 100)

    assert len(folder.children()) == 1
    assert last_used(folder) == before
    assert before == {number: number for number in range(16)} | {50: 0, 99: 15}


def test_folding_forgets_uses_before_a_moment(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    (tmp_path / "segment-x").write_bytes(b"")
    use(folder, 1, 2)
    use(folder, 2, after_s=1)
    use(folder, 3, after_s=2)

    fold_files(folder, NOW, since_us=NOW_US + 1_000_000)

    assert last_used(folder) == {2: 1, 3: 2}
    assert sum(path.name.startswith("used-") for path in tmp_path.iterdir()) == 1


def test_folding_leaves_no_note_if_nothing_is_left(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    fold_files(folder, NOW, since_us=0)
    use(folder, 1)

    fold_files(folder, NOW, since_us=NOW_US + 1)

    assert folder.children() == []
