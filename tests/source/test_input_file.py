"""What is read is what was listed: a file that changes meanwhile is refused by name."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from support.object_store import Store, moto_store
from support.tables import candidates, groups_of, open_source, read_groups, write

from pipeline.core.errors import InputError
from pipeline.source.batch_reader import BatchLimits
from pipeline.source.listing import list_input
from pipeline.source.source import Source

SIZES = [4] * 100
CHANGED = r"in\.parquet: changed while it was read"
Change = Callable[[Path], object]


def table(letter: str) -> pa.Table:
    """Return candidates; of different letters, tables whose files have equal sizes."""
    texts = [letter * 50] * sum(SIZES)
    return candidates(SIZES, text=texts)


def write_small_pages(path: Path, letter: str) -> Path:
    """Write a file whose columns are read bit by bit, and whose footer says nothing of values."""
    options = {"use_dictionary": False, "compression": "none", "write_statistics": False}
    return write(table(letter), path, row_group_size=40, **options)


def replaced(path: Path) -> None:
    write_small_pages(path.with_suffix(".new"), "b").replace(path)


def rewritten(path: Path) -> None:
    content = write_small_pages(path.with_suffix(".new"), "b").read_bytes()
    path.with_suffix(".new").unlink()
    assert len(content) == path.stat().st_size
    with path.open("r+b") as stream:
        stream.write(content)


def touched(path: Path) -> None:
    os.utime(path, (1, 1))


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def appended(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


EVERY_CHANGE: list[Change] = [replaced, rewritten, touched, truncated, appended]
IN_PLACE: list[Change] = [rewritten, touched, truncated, appended]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_small_pages(tmp_path / "in.parquet", "a")


@pytest.mark.parametrize("change", EVERY_CHANGE)
def test_a_file_that_was_changed_after_the_listing_is_refused(path: Path, change: Change) -> None:
    source = open_source(path)
    change(path)

    for read in (read_groups, Source.count_groups, lambda source: source.listing.refuse_changes()):
        with pytest.raises(InputError, match=CHANGED) as refusal:
            read(source)
        assert refusal.value.exit_code == 3
        assert "; run again once nothing writes to it any more" in str(refusal.value)


@pytest.mark.parametrize("change", IN_PLACE)
def test_no_row_is_taken_from_a_file_that_is_changed_in_place(path: Path, change: Change) -> None:
    batches = open_source(path, limits=BatchLimits(max_rows=8)).iter_batches()
    groups = groups_of(next(batches) for _ in range(5))
    change(path)

    with pytest.raises(InputError, match=CHANGED):
        groups += groups_of(batches)

    assert {text[0] for group in groups for text in group.texts.to_pylist()} == {"a"}


def test_a_file_that_is_replaced_is_read_on_and_refused_at_the_end(path: Path) -> None:
    source = open_source(path, limits=BatchLimits(max_rows=8))
    batches = source.iter_batches()
    groups = groups_of([next(batches)])
    replaced(path)

    groups += groups_of(batches)

    assert {text[0] for group in groups for text in group.texts.to_pylist()} == {"a"}
    assert len(groups) == len(SIZES)
    with pytest.raises(InputError, match=CHANGED):
        source.listing.refuse_changes()


def test_a_file_with_the_old_size_and_time_is_known_by_its_footer(path: Path) -> None:
    write(table("a"), path)
    source, facts = open_source(path), path.stat()
    write(table("b"), path)
    assert path.stat().st_size == facts.st_size
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    for read in (read_groups, lambda source: source.listing.refuse_changes()):
        with pytest.raises(InputError, match=CHANGED):
            read(source)


def test_a_file_that_is_replaced_by_its_copy_has_not_changed(path: Path) -> None:
    source, facts = open_source(path), path.stat()
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    source.listing.refuse_changes()
    assert len(read_groups(source)) == len(SIZES)


def test_a_file_that_vanishes_is_named(path: Path) -> None:
    source = open_source(path)
    path.unlink()

    for read in (read_groups, lambda source: source.listing.refuse_changes()):
        with pytest.raises(InputError, match=r"in\.parquet: no such file"):
            read(source)


def test_a_file_that_is_added_is_no_part_of_the_input(tmp_path: Path) -> None:
    write(candidates(), tmp_path / "b.parquet")
    source = open_source(tmp_path)
    write(candidates(query_id=["new"] * 5), tmp_path / "a.parquet")

    assert [group.query_id for group in read_groups(source)] == ["q0", "q1"]
    source.listing.refuse_changes()


def test_a_change_is_told_rather_than_what_it_did_to_the_content(path: Path) -> None:
    source = open_source(path)
    null_ids = candidates(SIZES, doc_id=pa.nulls(sum(SIZES), pa.string()))
    write(null_ids, path)

    with pytest.raises(InputError, match=CHANGED):
        read_groups(source)


# --- Object stores --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bucket() -> Iterator[Store]:
    with moto_store() as running:
        yield running


@pytest.fixture
def large(tmp_path: Path) -> list[Path]:
    """Write two files of one size that are too large to be fetched in one request."""
    texts = [f"{number:0>30000}" for number in range(sum(SIZES))]
    return [
        write(
            candidates(SIZES, text=[letter + text for text in texts]),
            tmp_path / f"{letter}.parquet",
            row_group_size=40,
            compression="none",
        )
        for letter in "ab"
    ]


def test_no_row_is_taken_from_an_object_that_is_overwritten(
    bucket: Store, large: list[Path]
) -> None:
    one, other = large
    source = Source(list_input(bucket.put(one, "in.parquet")), limits=BatchLimits(max_rows=8))
    batches = source.iter_batches()
    groups = groups_of(next(batches) for _ in range(5))
    bucket.put(other, "in.parquet")

    with pytest.raises(InputError, match=CHANGED):
        groups += groups_of(batches)

    assert {text[0] for group in groups for text in group.texts.to_pylist()} == {"a"}
    with pytest.raises(InputError, match=CHANGED):
        source.listing.refuse_changes()
    with pytest.raises(InputError, match=CHANGED):
        read_groups(source)


def test_an_object_that_is_written_with_the_same_bytes_has_not_changed(
    bucket: Store, path: Path
) -> None:
    source = Source(list_input(bucket.put(path, "same.parquet")))
    bucket.put(path, "same.parquet")

    source.listing.refuse_changes()
    assert len(read_groups(source)) == len(SIZES)


def test_an_object_that_is_removed_is_named(bucket: Store, path: Path) -> None:
    source = Source(list_input(bucket.put(path, "gone.parquet")))
    bucket.at("gone.parquet").remove()

    for read in (read_groups, lambda source: source.listing.refuse_changes()):
        with pytest.raises(InputError, match=r"gone\.parquet: no such file"):
            read(source)
