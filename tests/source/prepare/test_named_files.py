"""What identifies files of text formats."""

import os
from pathlib import Path

from support.object_store import moto_store

from pipeline.source.prepare.named_files import find_named_files


def facts_of(name: str) -> list[dict[str, str | int]]:
    return [file.facts() for file in find_named_files(name).files]


def test_a_local_file_is_told_by_its_content_not_by_its_time(tmp_path: Path) -> None:
    one, other = tmp_path / "1" / "c.jsonl", tmp_path / "2" / "c.jsonl"
    for path in (one, other):
        path.parent.mkdir()
        path.write_bytes(b'{"_id": 1, "text": "a"}\n')
    os.utime(other, (1, 1))

    assert facts_of(str(one)) == facts_of(str(other))
    other.write_bytes(b'{"_id": 1, "text": "b"}\n')
    assert facts_of(str(one)) != facts_of(str(other))


def test_an_object_is_told_by_its_entity_tag() -> None:
    with moto_store() as store:
        found = []
        for name, text in (("1", b"a"), ("2", b"a"), ("3", b"b")):
            location = store.at(f"texts/{name}/c.jsonl")
            location.publish(b'{"_id": 1, "text": "' + text + b'"}\n')
            found.append(facts_of(location.name))

    assert found[0] == found[1] != found[2]
