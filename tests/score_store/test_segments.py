"""A segment as bytes: opened by its index, or read from the start where that is damaged."""

import re
import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from msgspec import Struct
from support.score_stores import NOW, answer, keys, request, unclosed_segment

from pipeline.score_store.key_index import Place
from pipeline.score_store.rows import SCHEMA, StoredAnswer, encode
from pipeline.score_store.segment_index import BatchFacts
from pipeline.score_store.segments import (
    Message,
    Segment,
    SegmentBuilder,
    new_name,
    open_segment,
    read_batches,
)
from pipeline.storage.files import FileInfo
from pipeline.storage.local_files import LocalFiles
from pipeline.storage.location import Location, locate

NAME = "segment-v2-20270115T080000-000000-aaaaaaaa.arrows"
UNCLOSED, ENDS = unclosed_segment(range(6))
TRAILER_BYTES = 24
"""Bytes of the index, its checksum, eight letters."""


class CountingFiles(Struct, frozen=True):
    """Local files that note how much is read of them."""

    read_bytes: list[int]

    def read(self, path: str) -> bytes:
        content = LocalFiles().read(path)
        self.read_bytes.append(len(content))
        return content

    def read_ranges(self, path: str, ranges: Any) -> list[bytes]:
        self.read_bytes.extend(size for _, size in ranges)
        return LocalFiles().read_ranges(path, ranges)

    def __getattr__(self, name: str) -> Any:
        return getattr(LocalFiles(), name)


def message(*numbers: int) -> Message:
    asked = [request(number) for number in numbers]
    answers = [StoredAnswer(a.key, a.scope, b"", answer(a.key[0]), int(NOW * 1e6)) for a in asked]
    return Message.of(encode(answers))


def closed(*messages: Message) -> tuple[bytes, list[BatchFacts]]:
    builder = SegmentBuilder()
    start, facts = builder.start(), [builder.add(one) for one in messages]
    content = b"".join([start, *(one.content for one in messages)])
    assert builder.size_bytes == len(content)
    return content + builder.end(), facts


CLOSED, FACTS = closed(*(message(number) for number in range(6)))


def opened(folder: Path, content: bytes) -> tuple[Segment, list[int]]:
    """Return the segment of this content, and the sizes of what was read to open it."""
    (folder / NAME).write_bytes(content)
    files = CountingFiles([])
    location = Location(files, str(folder), str(folder))
    return open_segment(location, FileInfo(str(folder / NAME), len(content))), files.read_bytes


def numbers(segment: Segment) -> list[int]:
    return [key[0] for facts in segment.batches for key in facts.iter_keys()]


def damaged(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 0xFF
    return bytes(changed)


# --- By the index -------------------------------------------------------------------------------


def test_a_closed_segment_is_opened_by_its_end_alone(tmp_path: Path) -> None:
    segment, read = opened(tmp_path, CLOSED)

    assert list(segment.batches) == FACTS
    assert (segment.closed, segment.damaged, segment.name) == (True, False, NAME)
    assert segment.size_bytes == len(CLOSED)
    assert read == [len(CLOSED)]
    assert segment.place(FACTS[2]) == Place(NAME, FACTS[2].offset, FACTS[2].size)


def test_of_a_long_segment_the_last_64_kilobytes_are_read_and_the_rest_of_a_longer_index(
    tmp_path: Path,
) -> None:
    short, _ = closed(*(message(*range(100)) for _ in range(20)))
    long, facts = closed(*(message(*range(250)) for _ in range(20)))

    _, read_of_short = opened(tmp_path, short)
    segment, read_of_long = opened(tmp_path, long)

    (index_bytes,) = struct.unpack("<Q", long[-TRAILER_BYTES:][:8])
    assert len(short) > read_of_short[0]
    assert read_of_short == [65_536]
    assert read_of_long == [65_536, index_bytes]
    assert list(segment.batches) == facts


def test_the_facts_of_batches_say_where_they_are_in_the_bytes() -> None:
    content, written = closed(*(message(number) for number in range(6)))

    for number, facts in enumerate(written):
        assert content[facts.offset :][: facts.size] == message(number).content


def test_a_segment_may_be_ended_again_if_its_end_could_not_be_written() -> None:
    builder = SegmentBuilder()
    builder.start()
    builder.add(message(1))

    assert builder.end() == builder.end()


# --- Without it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("end", range(-1, 6))
def test_a_segment_of_a_killed_run_is_read_up_to_where_it_was_torn(
    tmp_path: Path, end: int
) -> None:
    content = UNCLOSED[: ENDS[end] + 40] if end >= 0 else UNCLOSED[:10]

    segment, _ = opened(tmp_path, content)

    assert numbers(segment) == list(range(end + 1))
    assert (segment.closed, segment.damaged) == (False, False)
    assert segment.modified is None


@pytest.mark.parametrize("size", [0, 1, TRAILER_BYTES - 1, TRAILER_BYTES])
def test_a_file_of_a_few_bytes_is_a_segment_without_answers(tmp_path: Path, size: int) -> None:
    segment, _ = opened(tmp_path, b"\xff" * size)

    assert (numbers(segment), segment.closed, segment.damaged) == ([], False, False)


@pytest.mark.parametrize("place", [-TRAILER_BYTES - 1, -TRAILER_BYTES + 8, -TRAILER_BYTES + 6])
def test_a_closed_segment_whose_index_is_damaged_is_read_from_the_start(
    tmp_path: Path, place: int
) -> None:
    """A bit of the index, of its checksum, of its length."""
    segment, _ = opened(tmp_path, damaged(CLOSED, place))

    assert list(segment.batches) == FACTS
    assert (segment.closed, segment.damaged) == (True, True)


def test_a_segment_whose_last_letters_are_damaged_is_taken_for_one_that_was_not_closed(
    tmp_path: Path,
) -> None:
    segment, _ = opened(tmp_path, damaged(CLOSED, -1))

    assert list(segment.batches) == FACTS
    assert (segment.closed, segment.damaged) == (False, False)


def test_an_index_that_would_begin_before_the_file_is_damaged(tmp_path: Path) -> None:
    size = len(CLOSED) - TRAILER_BYTES
    for length in (size + 1, 2**63):
        content = CLOSED[:-TRAILER_BYTES] + struct.pack("<Q", length) + CLOSED[-16:]

        segment, _ = opened(tmp_path, content)

        assert list(segment.batches) == FACTS


def test_a_batch_that_cannot_be_read_is_skipped_and_told(tmp_path: Path) -> None:
    for place in (ENDS[1] + 4, ENDS[1] + 8):  # the length of the third batch, where it says what
        segment, _ = opened(tmp_path, damaged(UNCLOSED, place))

        assert numbers(segment) == [0, 1, 3, 4, 5]
        assert (segment.closed, segment.damaged) == (False, True)


@pytest.mark.parametrize(
    "between", [b"\xff", b"\xff\xff\xff\xff\x10\x00\x00\x00" + b"\xff" * 7 + b"and more"]
)
def test_bytes_between_batches_that_look_like_the_beginning_of_one_do_no_harm(
    tmp_path: Path, between: bytes
) -> None:
    content = UNCLOSED[: ENDS[2]] + between + UNCLOSED[ENDS[2] :]

    segment, _ = opened(tmp_path, content)

    assert numbers(segment) == list(range(6))
    assert segment.damaged


def test_a_segment_that_is_gone_is_not_an_empty_one(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))

    for size in (0, 1_000):
        with pytest.raises(FileNotFoundError):
            open_segment(folder, FileInfo(NAME, size))


# --- Batches ------------------------------------------------------------------------------------


def test_batches_are_read_where_they_are_and_none_where_they_are_not(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CLOSED)
    places = [(facts.offset, facts.size) for facts in FACTS]
    (start, size) = places[3]

    read = list(
        read_batches(
            locate(str(tmp_path / NAME)),
            [places[4], (start, size - 8), (0, places[0][0]), (start + 1, size), places[0]],
        )
    )

    assert [rows and rows.keys for rows in read] == [*keys([4]), None, None, None, *keys([0])]


def test_a_batch_that_is_no_valid_arrow_is_none(tmp_path: Path) -> None:
    """The offsets of its lists go backwards."""
    content = bytearray(message(1, 2).content)
    offsets = struct.pack("<iii", 0, 3, 6)
    place = content.find(offsets)
    content[place : place + 12] = struct.pack("<iii", 0, 7, 6)
    (tmp_path / NAME).write_bytes(content)

    assert list(read_batches(locate(str(tmp_path / NAME)), [(0, len(content))])) == [None]


def test_a_message_of_another_kind_is_no_batch(tmp_path: Path) -> None:
    schema = SCHEMA.serialize().to_pybytes()
    (tmp_path / NAME).write_bytes(schema)

    assert list(read_batches(locate(str(tmp_path / NAME)), [(0, len(schema))])) == [None]
    assert pa.ipc.read_schema(pa.py_buffer(schema)) == SCHEMA


# --- Names --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tokyo")
def test_names_sort_by_time_and_never_repeat() -> None:
    times = [1.8e9, 1.8e9, 1.8e9 + 0.25, 1.8e9 + 1, 1.9e9]

    names = [new_name(now) for now in times]

    assert names[2:] == sorted(names[2:])
    assert max(names[:2]) < names[2]
    assert len(set(names)) == 5
    form = r"segment-v2-20270115T080000-250000-[0-9a-f]{8}\.arrows"
    assert re.fullmatch(form, names[2])
