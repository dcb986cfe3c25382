"""A place that fails is tried again for as long as allowed."""

import asyncio
import errno

import pytest
from support.virtual_clock import on_virtual_clock

from pipeline.core.errors import OutputFailed
from pipeline.storage.errors import MissingObject, StoreError, is_lasting
from pipeline.storage.retries import Patience, insist


class Place:
    """Fails until the loop's clock shows `works_at`."""

    def __init__(self, works_at: float) -> None:
        self.works_at = works_at
        self.tried_at: list[float] = []

    async def write(self) -> str:
        """Work, or fail."""
        now = asyncio.get_running_loop().time()
        self.tried_at.append(now)
        if now < self.works_at:
            raise OutputFailed("cannot be written: disk full", which="out", cure="free some space")
        return "written"


@on_virtual_clock
async def test_a_place_that_works_is_asked_once(caplog) -> None:
    place = Place(0)

    assert await insist(place.write, Patience()) == "written"
    assert (len(place.tried_at), caplog.records) == (1, [])


@on_virtual_clock
async def test_waits_double_up_to_ten_seconds_until_it_works(caplog) -> None:
    began = asyncio.get_running_loop().time()
    place = Place(began + 45)

    assert await insist(place.write, Patience()) == "written"

    tried = [round(at - began, 3) for at in place.tried_at]
    assert tried == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 25.5, 35.5, 45.5]
    told = [record.getMessage().split()[0] for record in caplog.records]
    assert told == ["storage.failed"] * 8 + ["storage.back"]


@on_virtual_clock
async def test_a_place_that_fails_for_too_long_is_told_with_its_own_cure() -> None:
    began = asyncio.get_running_loop().time()
    place = Place(began + 1_000)

    with pytest.raises(OutputFailed) as failure:
        await insist(place.write, Patience(max_outage_s=60))

    assert place.tried_at[-1] - began <= 60
    assert str(failure.value) == (
        "out: cannot be written: disk full (found failures for 56 s, expected at most 60 s of"
        " --max-outage); free some space"
    )


@pytest.mark.parametrize(
    ("error", "lasting"),
    [
        (PermissionError(errno.EACCES, "denied"), True),
        (OSError(errno.EROFS, "read-only"), True),
        (OSError(errno.ENOSPC, "full"), False),
        (OSError(errno.EIO, "broken"), False),
        (MissingObject("no such bucket"), True),
        (StoreError("access denied", is_lasting=True), True),
        (StoreError("503 SlowDown"), False),
        (ValueError("no error of a disk"), False),
        (None, False),
    ],
)
def test_errors_that_need_somebody_to_act_are_told_from_others(error, lasting) -> None:
    assert is_lasting(error) is lasting
