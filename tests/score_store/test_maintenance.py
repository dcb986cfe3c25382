"""What a store says of itself from outside a run."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from support.score_stores import NOW, put_segment

from pipeline.score_store.last_used import fold_files, record_use
from pipeline.score_store.maintenance import StoreInfo, info, is_store, prune
from pipeline.score_store.replaced import note_replaced
from pipeline.storage.location import locate

YEAR_10000_US = 253_402_300_800 * 1_000_000


def moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)


def test_a_store_is_the_sum_of_its_segments(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    put_segment(folder, [(1, 50), (2, 40)], [(3, 60)])
    put_segment(folder, [(1, 45)], at=NOW + 1)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    record_use(folder, np.array([7], np.uint64), NOW)
    record_use(folder, np.array([8], np.uint64), NOW - 5)

    assert info(folder) == StoreInfo(
        requests=4,
        documents=12,
        size_bytes=sum(sizes),
        segments=2,
        oldest=moment(40),
        newest=moment(60),
        last_used=datetime.fromtimestamp(NOW, UTC),
    )


def test_an_empty_store_has_no_times(tmp_path: Path) -> None:
    assert info(locate(str(tmp_path))) == StoreInfo(0, 0, 0, 0, None, None, None)


@pytest.mark.parametrize(
    ("saved_at_us", "told"),
    [(0, True), (-1, False), (YEAR_10000_US - 1_000_000, True), (YEAR_10000_US, False)],
)
def test_a_time_that_a_flipped_bit_made_impossible_is_not_told(
    tmp_path: Path, saved_at_us: int, told: bool
) -> None:
    folder = locate(str(tmp_path))
    put_segment(folder, [(1, saved_at_us)])

    facts = info(folder)

    assert facts.oldest == (moment(saved_at_us) if told else None)


def test_a_folder_is_a_store_if_it_is_empty_or_has_a_segment(tmp_path: Path) -> None:
    for name in ("empty", "store", "other"):
        (tmp_path / name).mkdir()
    put_segment(locate(str(tmp_path / "store")), [(1, 5)])
    (tmp_path / "store" / "used-x.arrows").write_bytes(b"")
    (tmp_path / "other" / "used-cars.arrows").write_bytes(b"")

    answers = {
        name: is_store(locate(str(tmp_path / name))) for name in ("empty", "store", "other", "none")
    }

    assert answers == {"empty": True, "store": True, "other": False, "none": False}


def test_a_store_whose_pruning_was_interrupted_is_one(tmp_path: Path) -> None:
    """All segments are removed, but not yet when their answers were last used."""
    folder = locate(str(tmp_path))
    record_use(folder, np.array([1], np.uint64), NOW)

    assert is_store(folder)

    note_replaced(folder, ["segment-v2-gone.arrows"], NOW)
    fold_files(folder, NOW, since_us=int(NOW * 1e6) + 1)

    assert [file.name.partition("-")[0] for file in tmp_path.iterdir()] == ["replaced"]
    assert is_store(folder)


@pytest.mark.parametrize("dry_run", [True, False])
def test_pruning_from_outside_a_run_counts_from_now(tmp_path: Path, dry_run: bool) -> None:
    folder = locate(str(tmp_path))
    put_segment(folder, [(1, 5), (2, int(NOW * 1e6))])

    pruned = prune(folder, 30, dry_run=dry_run)

    assert (pruned.removed, pruned.kept) == (1, 1)
    assert info(folder).requests == (2 if dry_run else 1)
