"""The answers in a store's segments, by key: which one counts, and what damage is told."""

from pathlib import Path

import pytest
from support.hostile_files import hostile
from support.score_stores import NOW, keys, put_segment, request, same, stored

from pipeline.core.errors import OutputFailed
from pipeline.score_store.key_index import Place
from pipeline.score_store.stored_answers import StoredAnswers
from pipeline.storage.files import FileInfo
from pipeline.storage.location import Location, locate


def opened(folder: Location) -> StoredAnswers:
    answers = StoredAnswers(folder)
    answers.refresh()
    return answers


def found(answers: StoredAnswers, *numbers: int) -> list[tuple[int, int]]:
    """Return number and time of each answer that is found, in order; its scores are right."""
    asked = keys(numbers)
    read = answers.read(asked, answers.find(asked))
    times = []
    for key, scores in read.items():
        time_us = int(scores.scores[0]) - 1_000 * key[0]
        assert same(scores, stored(key[0], time_us).scores)
        times.append((key[0], time_us))
    return times


def damage(folder: Path, number: int) -> None:
    """Change a bit of the scores of an answer that was saved at 5."""
    wanted = stored(number, 5).scores.scores.tobytes()
    for path in folder.glob("segment-*"):
        content = bytearray(path.read_bytes())
        if (place := content.find(wanted)) >= 0:
            content[place] ^= 1
            path.write_bytes(content)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_answers_come_in_the_order_of_the_keys_from_all_batches(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    put_segment(folder, [(1, 5), (2, 5)], [(3, 5)])
    put_segment(folder, [(4, 5)], at=NOW + 1)

    answers = opened(folder)

    assert found(answers, 4, 9, 2, 3) == [(4, 5), (2, 5), (3, 5)]
    assert found(answers, 9) == []
    assert StoredAnswers(folder).find(keys([1])) == {}


def test_only_the_batches_that_may_hold_a_key_are_named(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    one, two, three, four = (number << 36 for number in range(1, 5))
    (first, _), (second, _) = put_segment(folder, [(one, 5), (two, 5)], [(three, 5)])

    found = opened(folder).find(keys([three, four, two]))

    assert found == {second: [0], first: [2]}


def test_of_an_answer_that_is_stored_several_times_the_first_saved_one_counts(
    tmp_path: Path,
) -> None:
    folder = locate(str(tmp_path))
    put_segment(folder, [(1, 7), (2, 3)], [(1, 6)])
    put_segment(folder, [(1, 8), (2, 4)], at=NOW + 1)

    assert found(opened(folder), 1, 2) == [(1, 6), (2, 3)]


def test_a_sound_copy_serves_for_a_damaged_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = locate(str(tmp_path))
    put_segment(folder, [(1, 5), (2, 5)])
    put_segment(folder, [(1, 8)], at=NOW + 1)
    damage(tmp_path, 1)

    assert found(opened(folder), 1, 2) == [(1, 8), (2, 5)]
    assert len(told(caplog)) == 1


def test_what_is_written_meanwhile_is_found_after_it_was_noted(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    answers = opened(folder)
    ((place, facts),) = put_segment(folder, [(1, 5)])
    assert found(answers, 1) == []

    answers.add(place, facts)

    assert found(answers, 1) == [(1, 5)]


def test_an_answer_that_cannot_be_read_is_told_once_with_its_segment(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = locate(str(tmp_path))
    ((place, _), *_) = put_segment(folder, [(1, 5)], [(2, 5), (3, 5)])
    answers = opened(folder)
    damage(tmp_path, 2)

    for _ in range(2):
        assert found(answers, 1, 2, 3) == [(1, 5), (3, 5)]

    assert told(caplog) == [f"score_store.damaged segment={tmp_path}/{place.segment}"]


def test_a_batch_that_cannot_be_read_at_all_is_told_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = locate(str(tmp_path))
    ((place, _), _) = put_segment(folder, [(1, 5)], [(2, 5)])
    answers = opened(folder)
    path = tmp_path / place.segment
    content = bytearray(path.read_bytes())
    content[place.offset + 4] ^= 0xFF  # its length
    path.write_bytes(content)

    assert found(answers, 1, 2) == [(2, 5)]
    assert len(told(caplog)) == 1


def test_a_key_that_begins_like_a_stored_one_is_no_damage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = locate(str(tmp_path))
    put_segment(folder, [(1, 5)])
    answers = opened(folder)
    alike = request(1).key[:8] + b"theotherendofthe"

    assert answers.read([alike], answers.find([alike])) == {}
    assert answers.find([alike]).keys() == answers.find(keys([1])).keys()
    assert told(caplog) == []


def test_a_segment_that_was_skipped_in_part_is_told_when_it_is_opened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = locate(str(tmp_path))
    ((place, _), *_) = put_segment(folder, [(1, 5)], [(2, 5)])
    put_segment(folder, [(3, 5)], at=NOW + 1)
    path = tmp_path / place.segment
    path.write_bytes(path.read_bytes()[:-30] + b"x" * 6 + path.read_bytes()[-24:])

    answers = opened(folder)
    answers.refresh()

    assert found(answers, 1, 2, 3) == [(1, 5), (2, 5), (3, 5)]
    assert told(caplog) == [f"score_store.damaged segment={path}"]


def test_a_segment_that_is_gone_is_told_to_the_caller(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    ((place, _),) = put_segment(folder, [(1, 5)])
    answers = opened(folder)
    (tmp_path / place.segment).unlink()

    with pytest.raises(FileNotFoundError):
        found(answers, 1)


def test_a_store_that_lists_what_is_never_there_is_an_error(tmp_path: Path) -> None:
    gone = FileInfo(str(tmp_path / "segment-v2-1.arrows"), 500)

    with pytest.raises(OutputFailed, match="lists segments that cannot be found"):
        opened(hostile(tmp_path, lambda listed: [*listed, gone]))


def test_batches_are_read_in_their_order_within_a_segment(tmp_path: Path) -> None:
    """An object store merges ranges that are close to each other, if they come in order."""
    folder = locate(str(tmp_path))
    (first, _), (second, _), (third, _) = put_segment(folder, [(1, 5)], [(2, 5)], [(3, 5)])
    answers = opened(folder)
    places: dict[Place, list[int]] = {third: [2], first: [0], second: [1]}

    read = answers.read(keys([1, 2, 3]), places)

    assert [key[0] for key in read] == [1, 2, 3]
