"""The clock is compared with the time that the service states, and OUTPUT is written to."""

import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.real_runs import ROOT, environment

from jobs.doctor.surroundings import check_clock, describe_clock
from pipeline.output.validation import validate_output
from pipeline.storage.location import locate

KILLED = """
import asyncio, os, sys

from jobs.doctor.surroundings import check_output

def kill(event, arguments):
    if event == "os.remove":
        os._exit(9)

sys.addaudithook(kill)
asyncio.run(check_output(sys.argv[1]))
"""
"""A check of OUTPUT that is killed before it removes its probe."""


async def finding_with(date: str | None) -> tuple[str, str]:
    async def answer(request: web.Request) -> web.Response:
        headers = {} if date is None else {"Date": date}
        return web.Response(status=405, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/", answer)
    async with TestServer(app) as server:
        found = await check_clock(str(server.make_url("/")))
    return found.status, found.finding


async def test_a_service_of_our_time_is_fine() -> None:
    assert await finding_with(None) == ("ok", "this machine and the service agree on the time")


async def test_a_service_of_another_year_is_told() -> None:
    status, finding = await finding_with("Wed, 01 Jan 2020 00:00:00 GMT")

    assert status == "warn"
    assert "s ahead of the service" in finding


async def test_a_date_that_is_none_is_no_failure() -> None:
    assert await finding_with("soon") == ("ok", "the service does not state its time")


@pytest.mark.parametrize(("ahead_s", "status"), [(59, "ok"), (-59, "ok"), (61, "warn")])
def test_a_minute_is_allowed(ahead_s: float, status: str) -> None:
    assert describe_clock(ahead_s).status == status


def test_a_clock_that_is_behind_is_told_so() -> None:
    assert describe_clock(-3_600).finding == "this machine is 3,600 s behind the service"


def test_what_a_killed_check_of_an_output_leaves_there_is_in_no_runs_way(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, env=environment(), timeout=60
    )

    assert (killed.returncode, len(list(tmp_path.iterdir()))) == (9, 1)
    validate_output(locate(str(tmp_path)), "candidates.parquet")
