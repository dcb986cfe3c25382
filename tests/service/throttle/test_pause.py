"""The pause after a refusal."""

import asyncio

import pytest
from support.virtual_clock import on_virtual_clock

from pipeline.core.errors import Throttled
from pipeline.service.throttle.pause import Pause
from pipeline.service.throttle.permit import ThrottlePermit
from pipeline.service.throttle.text_kind import UNKNOWN_KIND


class NoOwner:
    def released(self, permit: ThrottlePermit) -> None: ...

    def answered(self, permit: ThrottlePermit, total_tokens: int | None) -> None: ...

    def throttled(self, permit: ThrottlePermit, error: Throttled) -> None: ...


def now() -> float:
    return asyncio.get_running_loop().time()


def refuse(pause: Pause, at: float, retry_after_s: float | None = None, *, is_new: bool) -> None:
    error = Throttled("Throttling", retry_after_s=retry_after_s)
    pause.begin(at, pause.length_s(error), error, is_new=is_new)


@on_virtual_clock
async def test_a_pause_is_prolonged_while_somebody_waits_for_its_end() -> None:
    pause = Pause()
    refuse(pause, 0.0, 2.0, is_new=True)

    waiting = asyncio.create_task(pause.wait(now))
    await asyncio.sleep(1)
    refuse(pause, 1.0, 5.0, is_new=False)
    await waiting

    assert now() == pytest.approx(6.0, abs=0.01)


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    pause = Pause()

    refuse(pause, 0.0, 9.0, is_new=True)
    refuse(pause, 1.0, 2.0, is_new=True)

    assert pause.until == 9.0


def test_pauses_double_until_an_answer_comes() -> None:
    pause, lengths = Pause(), []

    for _ in range(3):
        lengths.append(pause.length_s(Throttled("Throttling")))
        refuse(pause, 0.0, is_new=True)
    pause.refusals_in_a_row = 0

    assert lengths == [0.25, 0.5, 1.0]
    assert pause.length_s(Throttled("Throttling")) == 0.25


@pytest.mark.parametrize(
    ("asked_s", "length_s"), [(0.1, 0.25), (0.3, 0.3), (0.99, 0.99), (1.0, 1.0), (601.0, 600.0)]
)
def test_the_service_says_how_long_but_no_less_than_our_own_pause(asked_s, length_s) -> None:
    assert Pause().length_s(Throttled("Throttling", retry_after_s=asked_s)) == length_s


@pytest.mark.parametrize(("asked_s", "until"), [(None, 0.0), (0.9, 0.0), (1.0, 8.0)])
def test_a_refusal_without_news_pauses_only_if_it_asks_for_it(asked_s, until) -> None:
    pause = Pause()

    refuse(pause, 7.0, asked_s, is_new=False)

    assert (pause.until, pause.refusals_in_a_row) == (until, 0)


@on_virtual_clock
async def test_after_a_pause_the_probe_is_waited_for() -> None:
    pause = Pause()
    pause.probe = ThrottlePermit(NoOwner(), 1, 1, UNKNOWN_KIND, 1.0, (), (0, 0, 0))

    waiting = asyncio.create_task(pause.wait(now))
    await asyncio.sleep(3)
    assert not waiting.done()
    pause.end_probe()
    await waiting

    assert (pause.probe, now()) == (None, pytest.approx(3.0, abs=0.01))


@on_virtual_clock
async def test_a_short_pause_is_waited_for_too() -> None:
    pause = Pause()
    refuse(pause, 0.0, is_new=True)

    await pause.wait(now)

    assert now() == pytest.approx(0.25, abs=0.01)


def test_a_service_that_asks_for_a_second_gets_a_second_however_long_our_own_pause_is() -> None:
    pause = Pause()
    pause.refusals_in_a_row = 5

    lengths = [pause.length_s(Throttled("Throttling", retry_after_s=one)) for one in (0.99, 1.0)]

    assert lengths == [8.0, 1.0]
