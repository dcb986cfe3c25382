"""The record of what was made ready for an output."""

from pathlib import Path

from pipeline.output.differences import FileFacts
from pipeline.output.prepared_record import (
    PreparedRecord,
    prepared_folder,
    read_prepared_record,
    remove_prepared_record,
    write_prepared_record,
)
from pipeline.storage.location import locate


def test_a_record_is_read_as_it_was_written_until_it_is_removed_or_damaged(tmp_path: Path) -> None:
    output = locate(str(tmp_path))
    record = PreparedRecord(
        fingerprint="f",
        layout="long",
        columns={"text": "body"},
        num_rows=7,
        facts=FileFacts("candidates.parquet", 100, 7, "aa"),
    )
    assert read_prepared_record(output) is None

    write_prepared_record(output, record)
    assert read_prepared_record(output) == record
    assert (tmp_path / "_prepared" / "record.json").exists()

    prepared_folder(output).child("record.json").publish(b"{")
    assert read_prepared_record(output) is None

    remove_prepared_record(output)
    assert list((tmp_path / "_prepared").iterdir()) == []
