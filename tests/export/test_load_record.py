"""What is recorded of a load."""

import json
from pathlib import Path

from pipeline.export.load_record import LoadedPart, LoadRecord
from pipeline.storage.location import locate


def record(output: Path, to: str = "duckdb:///x", mode: str = "upsert") -> LoadRecord:
    return LoadRecord(locate(str(output)), to, "t", mode)


def loaded(output: Path, num_parts: int) -> LoadRecord:
    written = record(output)
    written.open("this", 0)
    for number in range(num_parts):
        written.add(LoadedPart(f"part-{number}", "5 bytes", 10))
    return written


def test_a_part_is_held_in_its_state_alone(tmp_path: Path) -> None:
    loaded(tmp_path, 1).write()

    again = record(tmp_path)
    again.open("this", 10)

    assert again.holds("part-0", "5 bytes")
    assert not again.holds("part-0", "6 bytes")
    assert not again.holds("part-1", "5 bytes")


def test_a_record_is_void_for_another_table_and_for_one_that_lost_rows(tmp_path: Path) -> None:
    loaded(tmp_path, 2).write()

    for identity, num_rows in (("another", 20), ("this", 19)):
        again = record(tmp_path)
        again.open(identity, num_rows)
        assert not again.holds("part-0", "5 bytes")


def test_other_addresses_and_modes_have_records_of_their_own(tmp_path: Path) -> None:
    loaded(tmp_path, 1).write()

    for to, mode in (("duckdb:///y", "upsert"), ("duckdb:///x", "replace")):
        other = record(tmp_path, to, mode)
        other.open("this", 10)
        assert not other.holds("part-0", "5 bytes")


def test_a_record_of_many_parts_is_not_written_after_each(tmp_path: Path) -> None:
    written = loaded(tmp_path, 3_000)
    (file,) = (tmp_path / "_loads").iterdir()
    assert len(json.loads(file.read_text())["parts"]) < 3_000

    written.write()

    assert len(json.loads(file.read_text())["parts"]) == 3_000


def test_a_damaged_record_counts_as_none(tmp_path: Path) -> None:
    loaded(tmp_path, 1).write()
    (file,) = (tmp_path / "_loads").iterdir()
    file.write_text("{")

    again = record(tmp_path)
    again.open("this", 10)

    assert not again.holds("part-0", "5 bytes")
