"""The partitions of a backfill, as its records name them."""

import json
from pathlib import Path

from pipeline.output.backfill_record import planned_partitions
from pipeline.storage.location import locate


def test_the_partitions_are_those_of_all_records_once_and_in_order(tmp_path: Path) -> None:
    root = locate(str(tmp_path))
    for name, partitions in (("2.json", ["dt=3", "dt=1"]), ("1.json", ["dt=2", "dt=1"])):
        root.child("_runs", name).publish(json.dumps({"partitions": partitions}).encode())

    assert planned_partitions(root) == ["dt=1", "dt=2", "dt=3"]


def test_records_that_cannot_be_understood_and_other_files_are_left_out(tmp_path: Path) -> None:
    root, content = locate(str(tmp_path)), b'{"partitions": ["dt=1"]}'
    for name in (".1.json", "1.json.unfinished", "a.txt"):
        root.child("_runs", name).publish(content)
    root.child("_runs", "0.json").publish(b"{")
    root.child("_runs", "1.json").publish(b"{}")
    root.child("_runs", "2.json").publish(content.replace(b"1", b"2"))

    assert planned_partitions(root) == ["dt=2"]


def test_a_root_without_runs_has_no_partitions(tmp_path: Path) -> None:
    assert planned_partitions(locate(str(tmp_path / "none"))) == []
