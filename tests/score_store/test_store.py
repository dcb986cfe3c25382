import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace
from support.hostile_files import hostile
from support.score_stores import (
    DAY,
    NOW,
    answer,
    compact,
    keys,
    look_up,
    request,
    right,
    same,
    save,
    store,
    unclosed_segment,
)

from pipeline.core.backoff import Backoff
from pipeline.core.content import digest
from pipeline.core.errors import OutputFailed, SettingsError
from pipeline.core.records import Request, Scores
from pipeline.score_store.last_used import read_last_used
from pipeline.score_store.limits import StoreLimits
from pipeline.score_store.listing import MAX_LISTINGS, list_segments
from pipeline.score_store.maintenance import info, prune
from pipeline.score_store.rows import SCHEMA, Rows, StoredAnswer, encode
from pipeline.score_store.segments import open_segment
from pipeline.score_store.store import ScoreStore
from pipeline.storage.errors import translate_errors
from pipeline.storage.files import FileInfo
from pipeline.storage.local_files import LocalFiles
from pipeline.storage.location import Location, locate
from pipeline.storage.retries import Patience

EXAMPLES = Path(__file__).parent / "examples"

numbers = st.floats(width=64)  # NaN, infinities and signed zeros included
answers = st.builds(
    lambda scores, tokens, name: Scores(np.array(scores, np.float64), tokens, name),
    st.lists(numbers, max_size=8),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def only_segment(folder: Path) -> Path:
    (path,) = folder.glob("segment-*")
    return path


def closed(numbers: Sequence[int]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        run(save(Path(folder), numbers))
        return only_segment(Path(folder)).read_bytes()


def found_in(content: bytes, numbers: Sequence[int]) -> dict[bytes, Scores]:
    """Return what a store serves whose only segment has this content."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "segment-v2-20260101T000000-000000-aaaaaaaa.arrows").write_bytes(content)
        found: dict[bytes, Scores] = run(look_up(Path(folder), numbers))
        return found


# --- Saving and finding -------------------------------------------------------------------------


async def test_a_missing_folder_is_an_empty_store(tmp_path: Path) -> None:
    folder = tmp_path / "none"

    assert info(locate(str(folder))).requests == 0
    assert not folder.exists()
    assert await look_up(folder, [1]) == {}
    assert info(locate(str(folder))).requests == 0


async def test_an_answer_is_found_by_a_later_run(tmp_path: Path) -> None:
    await save(tmp_path, range(5))

    assert right(await look_up(tmp_path, [3, 1, 9, 3]), [1, 3])


async def test_an_answer_is_found_by_the_same_run_before_and_after_it_is_written(
    tmp_path: Path,
) -> None:
    async with ScoreStore(locate(str(tmp_path)), linger_s=3600.0) as opened:
        await opened.save(request(1), answer(1))

        waiting = await opened.look_up(keys([1]))
        await opened.flush()
        written = await opened.look_up(keys([1]))

    assert right(waiting, [1])
    assert right(written, [1])


async def test_a_request_asked_twice_is_stored_once(tmp_path: Path) -> None:
    async with store(tmp_path) as opened:
        await opened.save(request(1), answer(1))
        await opened.save(request(1), answer(1))

    assert info(locate(str(tmp_path))).requests == 1


async def test_keys_that_share_their_first_half_are_told_apart(tmp_path: Path) -> None:
    one = request(1)
    other = Request("q", one.documents, 0, one.key[:8] + b"theotherendofthe", one.scope, 1)
    async with store(tmp_path) as opened:
        await opened.save(one, answer(1))
        await opened.save(other, answer(2))
        await opened.flush()

        found = await opened.look_up([other.key, one.key])

    assert same(found[one.key], answer(1))
    assert same(found[other.key], answer(2))


async def test_an_answer_with_another_number_of_scores_is_the_callers_mistake(
    tmp_path: Path,
) -> None:
    async with store(tmp_path) as opened:
        with pytest.raises(ValueError, match="one score per document"):
            await opened.save(request(1, documents=2), answer(1, documents=3))


@settings(max_examples=30, deadline=None)
@given(given_answers=st.lists(answers, max_size=20), cut=st.integers(0, 20))
def test_every_answer_comes_back_bit_for_bit(given_answers: list[Scores], cut: int) -> None:
    async def save_and_read(folder: Path) -> dict[bytes, Scores]:
        asked = [request(n, len(a.scores)) for n, a in enumerate(given_answers)]
        for part in (slice(None, cut), slice(cut, None)):
            async with store(folder) as opened:
                for one, scores in zip(asked[part], given_answers[part], strict=True):
                    await opened.save(one, scores)
        async with store(folder) as opened:
            await opened.compact()
            return await opened.look_up([one.key for one in asked])

    with tempfile.TemporaryDirectory() as folder:
        found = run(save_and_read(Path(folder)))

    assert len(found) == len(given_answers)
    assert all(same(found[request(n).key], a) for n, a in enumerate(given_answers))


@pytest.mark.parametrize("killed_after", range(6))
async def test_a_run_that_goes_on_after_k_answers_finds_these_k(
    tmp_path: Path, killed_after: int
) -> None:
    async with store(tmp_path) as killed:
        for number in range(killed_after):
            await killed.save(request(number), answer(number))
        await killed.flush()

        # The first run has not closed its segment, as if it had been killed.
        async with store(tmp_path) as resumed:
            found = await resumed.look_up(keys(range(6)))
            for number in range(killed_after, 6):
                await resumed.save(request(number), answer(number))

    assert right(found, range(killed_after))
    assert right(await look_up(tmp_path, range(6)), range(6))


def test_a_killed_process_loses_nothing_that_was_flushed(tmp_path: Path) -> None:
    """A real process and a real kill -9, with no chance to close anything."""
    program = """
import asyncio, os, signal, sys
sys.path.insert(0, "tests")
from support.score_stores import answer, request, store

async def save():
    async with store(sys.argv[1]) as opened:
        for number in range(20):
            await opened.save(request(number), answer(number))
        await opened.flush()
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(save())
"""
    project = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=project, check=False)

    assert ended.returncode == -signal.SIGKILL
    assert right(run(look_up(tmp_path, range(20))), range(20))


async def test_two_runs_write_at_once_and_lose_nothing(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(save(tmp_path, range(30)))
        tasks.create_task(save(tmp_path, range(20, 50)))

    assert right(await look_up(tmp_path, range(50)), range(50))


async def test_what_was_stored_is_found_at_any_moment_while_answers_arrive(tmp_path: Path) -> None:
    await save(tmp_path, [1])
    for number in range(10, 110):  # a store of few answers joins them with each that arrives
        shutil.copytree(tmp_path, copy := tmp_path.with_name(f"copy-{number}"))
        async with store(copy) as opened:
            await opened.save(request(number), answer(number))
            for _ in range(3):
                assert right(await opened.look_up(keys([1])), [1]), number


async def test_look_ups_while_answers_arrive_find_all_that_was_saved_before(tmp_path: Path) -> None:
    async with store(tmp_path) as opened, asyncio.TaskGroup() as tasks:
        for number in range(60):
            await opened.save(request(number), answer(number))
            found = tasks.create_task(opened.look_up(keys(range(number + 1))))
            if number % 7 == 0:
                assert right(await found, range(number + 1))


async def test_a_full_segment_is_closed_and_the_next_begun(tmp_path: Path) -> None:
    await save(tmp_path, range(20), limits=StoreLimits(full_bytes=4_000))

    assert info(locate(str(tmp_path))).segments > 3
    assert right(await look_up(tmp_path, range(20)), range(20))


# --- Damage -------------------------------------------------------------------------------------

UNCLOSED, ENDS = unclosed_segment(range(6))
CLOSED = closed(range(6))


@settings(max_examples=80, deadline=None)
@given(cut=st.integers(0, len(UNCLOSED)))
def test_a_torn_tail_loses_only_the_tail(cut: int) -> None:
    found = found_in(UNCLOSED[:cut], range(6))

    assert right(found, [number for number, end in enumerate(ENDS) if end <= cut])


@settings(max_examples=50, deadline=None)
@given(cut=st.integers(len(UNCLOSED), len(CLOSED)))
def test_a_segment_without_its_contents_is_walked(cut: int) -> None:
    assert right(found_in(CLOSED[:cut], range(6)), range(6))


@settings(max_examples=200, deadline=None)
@given(data=st.data(), content=st.sampled_from([UNCLOSED, CLOSED]))
def test_flipped_bits_never_give_a_wrong_score(data: st.DataObject, content: bytes) -> None:
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))

    found = found_in(bytes(damaged), range(6))

    assert all(same(found[key], answer(n)) for n in range(6) if (key := request(n).key) in found)
    assert len(found) >= 3  # one flip harms one batch


@pytest.mark.parametrize("content", [UNCLOSED, CLOSED], ids=["unclosed", "closed"])
@pytest.mark.parametrize("bit", [3, 31, 50, 62, 63])
async def test_a_flipped_bit_in_a_time_costs_that_answer_and_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes, bit: int
) -> None:
    damaged, saved_at = bytearray(content), int(NOW * 1e6).to_bytes(8, "little")
    damaged[damaged.find(saved_at, ENDS[1]) + bit // 8] ^= 1 << bit % 8
    (tmp_path / "segment-v2-x.arrows").write_bytes(damaged)
    folder = locate(str(tmp_path))

    async with store(tmp_path) as opened:
        for _ in range(2):
            assert right(await opened.look_up(keys(range(6))), [0, 1, 3, 4, 5])
        earlier = await opened.earlier_answers(2**62)
        assert len(earlier.find([request(number).scope for number in range(6)])) == 6
    assert [record.getMessage().split()[0] for record in caplog.records] == ["score_store.damaged"]
    assert info(folder).requests == 6
    prune(folder, 1, clock=lambda: NOW, dry_run=True)
    await save(tmp_path, [8], NOW + 2 * DAY)
    await compact(tmp_path, NOW + 2 * DAY)
    assert right(await look_up(tmp_path, range(9)), [0, 1, 3, 4, 5, 8])


async def test_damage_in_one_batch_costs_that_batch_alone(tmp_path: Path) -> None:
    damaged = bytearray(UNCLOSED)
    damaged[ENDS[1] + 4] ^= 0xFF  # the length that begins the third batch
    (tmp_path / "segment-v2-x.arrows").write_bytes(damaged)

    assert right(await look_up(tmp_path, range(6)), [0, 1, 3, 4, 5])


def test_every_answer_of_a_sound_segment_verifies(tmp_path: Path) -> None:
    (tmp_path / "segment-v2-x.arrows").write_bytes(CLOSED)
    folder = locate(str(tmp_path))
    (file,) = list_segments(folder)
    opened = open_segment(folder, file)

    assert opened is not None
    assert opened.closed
    assert [facts.num_requests for facts in opened.batches] == [1] * 6


async def test_a_key_that_begins_like_a_stored_one_is_not_taken_for_a_lost_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await save(tmp_path, [1, 2, 3])

    assert await look_up(tmp_path, [4]) == {}
    assert caplog.records == []


async def test_an_answer_that_can_no_longer_be_read_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await save(tmp_path, [1, 2, 3])
    content = bytearray(only_segment(tmp_path).read_bytes())
    content[content.find(answer(2).scores.tobytes())] ^= 1
    only_segment(tmp_path).write_bytes(content)

    async with store(tmp_path) as opened:
        assert len(await opened.look_up(keys([1, 2, 3]))) == 2
        assert await opened.look_up(keys([2])) == {}

    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("score_store.damaged segment=")


# --- Places that cannot be read -----------------------------------------------------------------


class FailingReads(Struct, frozen=True):
    """Local files whose batches of answers cannot be read at first.

    Attributes:
        is_local: Whether they do not pass for those of an object store.
        errors: What reading a batch raises, one after the other, before it succeeds.
    """

    is_local: bool
    errors: list[OSError]

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read the ranges; those of the index at the end of a segment can be read."""
        size_bytes = Path(path).stat().st_size
        if self.errors and all(start + length < size_bytes for start, length in ranges):
            raise self.errors.pop(0)
        return LocalFiles().read_ranges(path, ranges)

    def __getattr__(self, name: str) -> Any:
        return getattr(LocalFiles(), name)


def failing_store(folder: Path, error: OSError, times: int, *, is_local: bool) -> ScoreStore:
    files = FailingReads(is_local, [error] * times)
    patience = Patience(backoff=Backoff(0.0, 0.0))
    return ScoreStore(Location(files, str(folder), str(folder)), patience=patience)


async def test_an_object_store_that_cannot_be_read_for_now_is_asked_again(tmp_path: Path) -> None:
    await save(tmp_path, [1])
    slow_down = OSError(errno.EIO, "SlowDown")

    async with failing_store(tmp_path, slow_down, 3, is_local=False) as opened:
        assert right(await opened.look_up(keys([1])), [1])


async def test_a_disk_that_cannot_be_read_is_not_asked_again(tmp_path: Path) -> None:
    await save(tmp_path, [1])
    broken = OSError(errno.EIO, os.strerror(errno.EIO))

    async with failing_store(tmp_path, broken, 1, is_local=True) as opened:
        with pytest.raises(OutputFailed, match="cannot be read: Input/output error"):
            await opened.look_up(keys([1]))
        assert right(await opened.look_up(keys([1])), [1])


async def test_segments_that_are_gone_each_time_they_were_listed_are_an_error(
    tmp_path: Path,
) -> None:
    await save(tmp_path, [1])
    gone = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    async with failing_store(tmp_path, gone, MAX_LISTINGS, is_local=True) as opened:
        with pytest.raises(OutputFailed) as failure:
            await opened.look_up(keys([1]))
        assert right(await opened.look_up(keys([1])), [1])

    assert str(failure.value) == f"{tmp_path}: lists segments that cannot be found"
    assert isinstance(failure.value.__cause__, FileNotFoundError)


# --- Uses, pruning ------------------------------------------------------------------------------


async def test_info_tells_what_the_store_holds(tmp_path: Path) -> None:
    await save(tmp_path, [1, 2], NOW)
    await save(tmp_path, [3], NOW + DAY)

    facts = info(locate(str(tmp_path)))

    assert (facts.requests, facts.documents, facts.segments) == (3, 9, 2)
    assert facts.size_bytes == sum(
        file.size_bytes or 0 for file in list_segments(locate(str(tmp_path)))
    )
    assert facts.oldest is not None
    assert facts.newest is not None
    assert facts.newest.timestamp() - facts.oldest.timestamp() == DAY
    assert facts.last_used is None


async def test_pruning_drops_what_was_neither_saved_nor_used_lately(tmp_path: Path) -> None:
    await save(tmp_path, [1, 2, 3], NOW)
    async with store(tmp_path, NOW + 20 * DAY) as used:
        await used.look_up(keys([2]))
    await save(tmp_path, [4], NOW + 25 * DAY)

    dropped = prune(locate(str(tmp_path)), 10, clock=lambda: NOW + 29 * DAY).removed

    assert dropped == 2
    assert right(await look_up(tmp_path, range(1, 5)), [2, 4])


async def test_many_notes_of_use_are_folded_into_one(tmp_path: Path) -> None:
    await save(tmp_path, [1, 2], NOW)
    for day in range(20):
        async with store(tmp_path, NOW + day * DAY) as used:
            await used.look_up(keys([1]))

    await compact(tmp_path, NOW + 20 * DAY)

    assert sum(name.base_name.startswith("used-") for name in locate(str(tmp_path)).children()) == 1
    assert prune(locate(str(tmp_path)), 5, clock=lambda: NOW + 22 * DAY).removed == 1
    assert right(await look_up(tmp_path, [1, 2]), [1])


def test_rows_of_a_batch_are_proved_one_by_one() -> None:
    asked = request(1)
    sound = encode([StoredAnswer(asked.key, asked.scope, b"", answer(1), 0)])
    checksum = sound.column("checksum")
    forged = sound.set_column(
        SCHEMA.get_field_index("saved_at"),
        SCHEMA.field("saved_at"),
        checksum.view(pa.timestamp("us", tz="UTC")),
    )

    assert Rows(sound).verified().tolist() == [True]
    assert Rows(forged).verified().tolist() == [False]


# --- What earlier versions wrote ------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["segment-20270115T080000-000000-15df88ab.arrows", "segment-v3-2027.arrows"]
)
async def test_a_store_of_another_format_is_refused_by_its_file(tmp_path: Path, name: str) -> None:
    await save(tmp_path, [1])
    (tmp_path / name).write_bytes(b"")

    for use in (
        lambda: look_up(tmp_path, [1]),
        lambda: asyncio.to_thread(info, locate(str(tmp_path))),
    ):
        with pytest.raises(SettingsError, match="a format that this version does not read") as told:
            await use()
        assert name in str(told.value)


async def test_other_files_in_the_folder_do_no_harm(tmp_path: Path) -> None:
    await save(tmp_path, [1])
    for name in ("segment-notes.txt", "segment-of-mine.arrows", "README", ".DS_Store", "used-x"):
        (tmp_path / name).write_bytes(b"not ours")
    (tmp_path / "segment-v2-folder.arrows").mkdir()

    assert right(await look_up(tmp_path, [1]), [1])
    await compact(tmp_path)
    assert info(locate(str(tmp_path))).requests == 1


async def test_a_store_of_an_earlier_version_is_read_and_pruned(tmp_path: Path) -> None:
    for file in EXAMPLES.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())

    assert right(await look_up(tmp_path, range(4)), range(3))
    held = info(locate(str(tmp_path)))
    assert (held.requests, held.documents, held.segments) == (3, 9, 1)
    assert held.last_used is not None
    assert held.last_used.timestamp() == 1.8e9
    removed = prune(locate(str(tmp_path)), 1, clock=lambda: 1.8e9 + 2 * DAY).removed
    assert (removed, info(locate(str(tmp_path))).segments) == (3, 0)


async def test_a_segment_has_the_bytes_that_it_had_in_earlier_versions(tmp_path: Path) -> None:
    (example,) = EXAMPLES.glob("segment-*")

    await save(tmp_path, range(3), 1.8e9)

    assert only_segment(tmp_path).read_bytes() == example.read_bytes()


# --- What a run leaves behind -------------------------------------------------------------------


async def test_what_was_looked_up_and_found_is_noted_as_used_at_the_end(tmp_path: Path) -> None:
    """By its first 64 bits, whether it was stored before or is not even written yet."""
    await save(tmp_path, [1, 2])
    later = NOW + 3 * DAY
    async with ScoreStore(locate(str(tmp_path)), clock=lambda: later, linger_s=3_600.0) as opened:
        await opened.save(request(7), answer(7))
        await opened.save(request(8), answer(8))
        await opened.look_up(keys([7, 1, 9]))
        await opened.look_up(keys([7]))

    prefixes, used_at_us = read_last_used(locate(str(tmp_path)))

    assert prefixes.tolist() == [1, 7]
    assert set(used_at_us.tolist()) == {later * 1e6}


async def test_whoever_found_nothing_leaves_no_note(tmp_path: Path) -> None:
    await save(tmp_path, [1])
    await look_up(tmp_path, [2])

    assert [one.base_name[:5] for one in locate(str(tmp_path)).children()] == ["segme"]


async def test_a_note_of_use_that_cannot_be_written_is_told_and_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publish = Location.publish

    def refusing(location: Location, content: bytes | memoryview) -> None:
        if "/used-" in location.path:
            raise OutputFailed("cannot be written: a disk that is full", which=location.name)
        publish(location, content)

    await save(tmp_path, [1])
    monkeypatch.setattr(Location, "publish", refusing)

    assert right(await look_up(tmp_path, [1]), [1])
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("score_store.use_not_recorded error=")
    assert "a disk that is full" in told


async def test_a_compaction_that_is_cancelled_ends_soon_and_replaces_nothing(
    tmp_path: Path,
) -> None:
    for number in range(4):
        await save(tmp_path, [number])
    begun, go_on = threading.Event(), threading.Event()

    def wait(found: list[FileInfo]) -> list[FileInfo]:
        begun.set()
        assert go_on.wait(20)
        return found

    async with store(tmp_path) as opened:
        opened._folder = hostile(tmp_path, wait)
        compacting = asyncio.create_task(opened.compact())
        await asyncio.to_thread(begun.wait, 20)
        compacting.cancel()
        await asyncio.wait([compacting])
        go_on.set()
    await asyncio.get_running_loop().shutdown_default_executor()

    assert compacting.cancelled()
    assert info(locate(str(tmp_path))).segments == 4
    assert len(locate(str(tmp_path)).children()) == 4


async def test_a_place_that_cannot_be_written_is_refused_and_one_that_fails_for_now_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(number: int) -> Callable[..., None]:
        def fails(*_: object) -> None:
            with translate_errors(locate(str(tmp_path)), OutputFailed, "cannot be written"):
                raise OSError(number, os.strerror(number))

        return fails

    monkeypatch.setattr(Location, "publish", failing(errno.EROFS))
    with pytest.raises(SettingsError) as refused:
        await look_up(tmp_path, [1])
    monkeypatch.setattr(Location, "publish", failing(errno.ENOSPC))
    with pytest.raises(OutputFailed):
        await look_up(tmp_path, [1])

    assert str(refused.value).startswith(
        f"{tmp_path}: the score store cannot be written: Read-only"
    )


async def test_opening_a_store_leaves_nothing_in_it(tmp_path: Path) -> None:
    async with store(tmp_path / "new") as opened:
        assert list((tmp_path / "new").iterdir()) == []
        assert (opened.is_local, opened.num_unsaved) == (True, 0)

    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("keeps_documents", [True, False])
async def test_documents_are_kept_by_their_digest_if_they_are_wanted(
    tmp_path: Path, keeps_documents: bool
) -> None:
    asked = replace(request(1), documents=["one", "two", "three"])
    async with ScoreStore(
        locate(str(tmp_path)), keeps_documents=keeps_documents, linger_s=0.0
    ) as opened:
        await opened.save(asked, answer(1))
        earlier = await opened.earlier_answers(2**62)

    ((found,),) = (await asyncio.to_thread(earlier.find, [asked.scope])).values()

    digests = b"".join(digest(text.encode()) for text in ("one", "two", "three"))
    assert found.document_keys == (digests if keeps_documents else b"")
