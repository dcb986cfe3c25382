"""Segments made of the rows of others: how large they are, and which rows they hold."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support.score_stores import NOW, answer, put_batches, put_segment, request, stored

from pipeline.score_store.limits import StoreLimits
from pipeline.score_store.listing import iter_segments
from pipeline.score_store.replaced import read_replaced
from pipeline.score_store.replacing import SegmentTarget, iter_rows, replace_segments
from pipeline.score_store.rows import Rows, StoredAnswer, encode
from pipeline.score_store.segments import Message, Segment, SegmentBuilder
from pipeline.storage.location import Location, locate


def rows_of(folder: Location) -> list[list[list[tuple[int, int]]]]:
    """Return the answers of each batch of each segment, in order, which must be sound."""
    found = []
    for segment in iter_segments(folder):
        batches = []
        for rows in iter_rows(segment):
            assert rows.verified().all()
            saved = zip(range(rows.batch.num_rows), rows.saved_at_us.tolist(), strict=True)
            batches.append([(rows.key(row)[0], saved_at_us) for row, saved_at_us in saved])
        found.append(batches)
    return found


def replaced(
    folder: Location, kept: range | None = None, limits: StoreLimits | None = None
) -> tuple[int, list[str]]:
    """Replace all segments; return how many, and the names of the new ones."""
    times = itertools.count(int(NOW) + 100)
    target = SegmentTarget(folder, lambda: float(next(times)), limits or StoreLimits())
    segments = list(iter_segments(folder))
    return replace_segments(segments, target, lambda rows: mask(rows, kept)), target.published


def mask(rows: Rows, kept: range | None) -> np.ndarray:
    numbers = [rows.key(row)[0] for row in range(rows.batch.num_rows)]
    return np.array([kept is None or number in kept for number in numbers], np.bool_)


def test_rows_keep_their_order_and_become_one_batch_of_one_segment(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    put_segment(folder, [(1, 5), (9, 5)], [(4, 5)])
    put_segment(folder, [(2, 5)], at=NOW + 1)
    before = [segment.name for segment in iter_segments(folder)]

    count, published = replaced(folder)

    (new,) = iter_segments(folder)
    assert (count, published) == (2, [new.name])
    with pa.ipc.open_stream(new.location.read()) as stream:  # as any program reads it
        assert stream.read_all().num_rows == 4
    assert rows_of(folder) == [[[(1, 5), (9, 5), (4, 5), (2, 5)]]]
    assert read_replaced(folder, folder.children()) == set(before)
    (note,) = tmp_path.glob("replaced-*")
    assert note.name[:24] > f"replaced-{before[0][11:26]}"


def test_only_rows_that_are_kept_are_written_and_no_batch_without_rows(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    put_segment(folder, [(1, 5)], [(4, 5), (5, 5)], [(2, 5)], [(3, 5)])

    replaced(folder, range(2, 5), StoreLimits(folded_bytes=1))

    assert rows_of(folder) == [[[(4, 5)], [(2, 5)], [(3, 5)]]]


def test_if_nothing_is_kept_nothing_is_published(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    put_segment(folder, [(1, 5)])

    assert replaced(folder, range(0)) == (1, [])
    assert rows_of(folder) == []


def test_batches_are_joined_up_to_a_size_and_segments_filled_up_to_another(
    tmp_path: Path,
) -> None:
    single = encode([stored(1, 5)])
    row_bytes = single.filter(pa.array([True])).nbytes
    pair = Message.of(encode([stored(1, 5), stored(2, 5)]))
    full = len(SegmentBuilder().start()) + 2 * len(pair.content)

    def made(folded_bytes: int, full_bytes: int = 1 << 30) -> list[list[list[int]]]:
        folder = locate(str(tmp_path / f"{folded_bytes}-{full_bytes}"))
        put_segment(folder, *([(number, 5)] for number in range(1, 8)))
        replaced(folder, None, StoreLimits(folded_bytes=folded_bytes, full_bytes=full_bytes))
        return [[[number for number, _ in batch] for batch in one] for one in rows_of(folder)]

    assert made(2 * row_bytes) == [[[1, 2], [3, 4], [5, 6], [7]]]
    assert made(2 * row_bytes + 1) == [[[1, 2, 3], [4, 5, 6], [7]]]
    assert made(2 * row_bytes, full) == [[[1, 2], [3, 4]], [[5, 6], [7]]]
    assert made(2 * row_bytes, full + 1) == [[[1, 2], [3, 4], [5, 6]], [[7]]]
    assert made(1, 1) == [[[number]] for number in range(1, 8)]


def test_of_an_answer_that_is_stored_several_times_the_first_saved_one_is_kept_once(
    tmp_path: Path,
) -> None:
    folder = locate(str(tmp_path))
    put_segment(folder, [(1, 7), (2, 5)], [(1, 6), (3, 5), (5, 9)])
    put_segment(folder, [(1, 6), (1, 6)], [(1, 8), (5, 8)], at=NOW + 1)

    replaced(folder)

    assert rows_of(folder) == [[[(2, 5), (1, 6), (3, 5), (5, 8)]]]


def test_keys_are_compared_bit_by_bit(tmp_path: Path) -> None:
    """Some would be no numbers, and so never equal, if they were read as floats."""
    folder = locate(str(tmp_path))
    number = 0x7FF8_0000_0000_0001
    asked, scores = request(number), answer(1)
    one = StoredAnswer(asked.key, asked.scope, b"", scores, 5)
    put_batches(folder, encode([one, one]))
    put_batches(folder, encode([one]), at=NOW + 1)

    replaced(folder)

    assert [len(batch) for segment in rows_of(folder) for batch in segment] == [1]


def test_a_damaged_copy_of_the_answer_that_counts_is_left_out_and_the_sound_one_kept(
    tmp_path: Path,
) -> None:
    folder = locate(str(tmp_path))
    put_segment(folder, [(1, 5)])
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[content.find(stored(1, 5).scores.scores.tobytes())] ^= 1
    path.write_bytes(content)
    put_segment(folder, [(1, 5)], at=NOW + 1)
    target = SegmentTarget(folder, lambda: NOW, StoreLimits())

    replace_segments(list(iter_segments(folder)), target, lambda rows: rows.verified())

    assert rows_of(folder) == [[[(1, 5)]]]


def test_a_copy_that_is_not_kept_does_not_hide_one_that_is(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    put_segment(folder, [(1, 5), (2, 5)])
    put_segment(folder, [(1, 9), (1, 8)], at=NOW + 1)
    target = SegmentTarget(folder, lambda: NOW, StoreLimits())

    replace_segments(list(iter_segments(folder)), target, lambda rows: rows.saved_at_us > 7)

    assert rows_of(folder) == [[[(1, 8)]]]


@pytest.mark.parametrize("asked", [0, 1, 2])
def test_whoever_is_stopped_replaces_nothing(tmp_path: Path, asked: int) -> None:
    folder = locate(str(tmp_path))
    put_segment(folder, [(1, 5)], [(2, 5)], [(3, 5)])
    before = rows_of(folder)
    answers: Iterator[bool] = iter([*[False] * asked, True])
    segments: list[Segment] = list(iter_segments(folder))
    target = SegmentTarget(folder, lambda: NOW, StoreLimits())

    assert replace_segments(segments, target, lambda _: mask(_, None), lambda: next(answers)) == 0

    assert rows_of(folder) == before
    assert len(list(tmp_path.iterdir())) == 1
