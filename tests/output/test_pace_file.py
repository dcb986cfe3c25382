"""The operator's control file: what it may say, and when the pace changes."""

import logging
from pathlib import Path

import pytest

from pipeline.core.errors import OutputFailed, SettingsError
from pipeline.core.settings import Pace
from pipeline.output.layout import PACE_NAME
from pipeline.output.pace_file import PaceFile, read_pace
from pipeline.storage.location import Location, locate

PACE = Pace(requests_per_minute=600, tokens_per_minute=1_000, max_in_flight=8)


class Followed:
    """A pace file in a folder, and the paces that it gave."""

    def __init__(self, folder: Path) -> None:
        self.paces: list[Pace] = []
        self.place = folder / PACE_NAME
        self.file = PaceFile(locate(str(folder)), PACE, self.paces.append)

    async def write_and_poll(self, content: str | None) -> None:
        if content is None:
            self.place.unlink(missing_ok=True)
        else:
            self.place.write_text(content)
        await self.file.poll()


@pytest.fixture
def followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Followed:
    caplog.set_level(logging.INFO, "pipeline.output.pace_file")
    return Followed(tmp_path)


@pytest.mark.parametrize(
    ("content", "pace"),
    [
        ("{}", PACE),
        (
            '{"requests_per_minute": 1200}',
            Pace(requests_per_minute=1200, tokens_per_minute=1_000, max_in_flight=8),
        ),
        (
            '{"tokens_per_minute": null, "max_in_flight": 2, "max_documents_in_flight": 50}',
            Pace(requests_per_minute=600, max_in_flight=2, max_documents_in_flight=50),
        ),
        (
            '{"requests_per_minute": 0.5}',
            Pace(requests_per_minute=0.5, tokens_per_minute=1_000, max_in_flight=8),
        ),
    ],
)
def test_what_is_named_replaces_the_settings(content: str, pace: Pace) -> None:
    assert read_pace(content.encode(), PACE) == pace


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "Input data was truncated"),
        (b"\xff", "JSON is malformed"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"max_attempts": 3}', "unknown field `max_attempts` (expected requests_per_minute, "),
        (b'{"requests_per_minute": -1}', "Expected `float` >= 0.0 - at `$.requests_per_minute`"),
        (b'{"requests_per_minute": NaN}', "JSON is malformed"),
        (b'{"requests_per_minute": 1e999}', "Number out of range"),
        (b'{"requests_per_minute": true}', "Expected `float | null`, got `bool`"),
        (b'{"requests_per_minute": "60"}', "Expected `float | null`, got `str`"),
        (b'{"requests_per_minute": %s}' % (b"9" * 400), "Number out of range"),
        (b'{"max_in_flight": 1.5}', "Expected `int`, got `float` - at `$.max_in_flight`"),
        (b'{"max_in_flight": null}', "Expected `int`, got `null` - at `$.max_in_flight`"),
    ],
)
def test_wrong_content_is_refused_by_name(content: bytes, message: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        read_pace(content, PACE)

    assert str(refusal.value).startswith("pace file: invalid: ")
    assert message in str(refusal.value)


async def test_without_a_file_nothing_changes(followed: Followed) -> None:
    await followed.write_and_poll(None)

    assert followed.paces == []


async def test_a_change_is_applied_once_and_logged_as_one_line(
    followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        await followed.write_and_poll('{"max_in_flight": 2}')

    assert [pace.max_in_flight for pace in followed.paces] == [2]
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.getMessage().startswith(
        "pace.changed requests_per_minute=600 tokens_per_minute=1000 max_in_flight=2 "
    )


async def test_wrong_content_is_warned_of_once_and_changes_nothing(
    followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    await followed.write_and_poll('{"max_in_flight": 2}')
    caplog.clear()

    for _ in range(3):
        await followed.write_and_poll('{"max_in_flight": -1}')

    assert [pace.max_in_flight for pace in followed.paces] == [2]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "Expected `int` >= 0 - at `$.max_in_flight`" in record.getMessage()


@pytest.mark.parametrize(
    "content", ['{"requests_per_minute": 0}', '{"max_in_flight": 0, "tokens_per_minute": 5}']
)
async def test_a_limit_of_0_pauses_until_the_file_is_gone(
    content: str, followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    await followed.write_and_poll(content)
    await followed.write_and_poll(None)

    assert [pace.is_paused for pace in followed.paces] == [True, False]
    assert followed.paces[1] == PACE
    assert [record.event for record in caplog.records] == ["pace.paused", "pace.changed"]
    assert [record.fields["by"] for record in caplog.records] == [str(followed.place), "settings"]


async def test_once_the_file_is_gone_the_settings_hold_again(followed: Followed) -> None:
    await followed.write_and_poll('{"max_in_flight": 2}')
    await followed.write_and_poll("{")
    await followed.write_and_poll(None)

    assert [pace.max_in_flight for pace in followed.paces] == [2, 8]


async def test_a_file_that_cannot_be_read_is_warned_of_once(
    followed: Followed, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed.place.mkdir()  # a folder is no file: as if there were none
    await followed.file.poll()
    assert not caplog.records
    followed.place.rmdir()
    followed.place.symlink_to("/proc/self/mem")

    await followed.file.poll()
    await followed.file.poll()

    assert followed.paces == []
    assert len(caplog.records) <= 1


async def test_each_time_that_it_becomes_unreadable_is_warned_of(
    followed: Followed, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(location: Location) -> bytes:
        raise OutputFailed("cannot be read", which=location.name)

    for _ in range(2):
        with monkeypatch.context() as unreadable:
            unreadable.setattr(Location, "read", refused)
            for _ in range(3):
                await followed.file.poll()
        await followed.file.poll()

    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


async def test_the_same_pace_in_other_words_is_no_change(followed: Followed) -> None:
    await followed.write_and_poll('{"requests_per_minute": 1200}')
    await followed.write_and_poll('{"requests_per_minute": 1200.0 }')

    assert len(followed.paces) == 1


async def test_whole_numbers_are_logged_as_people_write_them(
    followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    await followed.write_and_poll('{"requests_per_minute": 1200, "tokens_per_minute": 0.5}')

    assert "requests_per_minute=1200 tokens_per_minute=0.5 " in caplog.text


async def test_it_is_looked_at_at_once_and_then_every_two_seconds(tmp_path: Path) -> None:
    waits: list[float] = []
    paces: list[Pace] = []

    class Enough(Exception):
        pass

    async def sleep(wait_s: float) -> None:
        waits.append(wait_s)
        if len(waits) == 3:
            raise Enough

    (tmp_path / PACE_NAME).write_text('{"max_in_flight": 3}')
    file = PaceFile(locate(str(tmp_path)), PACE, paces.append, sleep=sleep)

    with pytest.raises(Enough):
        await file.follow()

    assert waits == [2.0] * 3
    assert len(paces) == 1


def test_a_file_of_an_earlier_version_is_read() -> None:
    content = (Path(__file__).parent / "examples" / "pace.json").read_bytes()

    assert read_pace(content, PACE) == Pace(requests_per_minute=1200, max_in_flight=64)
