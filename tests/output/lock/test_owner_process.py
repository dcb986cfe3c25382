"""Which process holds a lock, and that only certainty counts as its end."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from pipeline.output.lock.owner_process import Owner, has_ended, read_owner, this_process

EXAMPLES = Path(__file__).parents[1] / "examples"


def ticks_since_boot() -> float:
    seconds = float(Path("/proc/uptime").read_text().split()[0])
    return seconds * os.sysconf("SC_CLK_TCK")


def test_a_process_tells_its_machine_and_since_when_it_holds_a_lock() -> None:
    before = datetime.now(UTC)

    here = this_process()

    assert (here.host, here.pid) == (platform.node(), os.getpid())
    since = datetime.fromisoformat(here.since)
    assert before - timedelta(seconds=1) < since <= datetime.now(UTC)
    assert here.since.endswith("+00:00")


def test_a_process_may_have_any_name() -> None:
    name, here = Path("/proc/self/comm"), this_process()
    before = name.read_text()

    name.write_text("odd) Z 1 (name")

    try:
        assert not has_ended(here)
        assert this_process().started == here.started
    finally:
        name.write_text(before)


def test_a_process_has_ended_only_for_certain() -> None:
    here = this_process()
    assert here.started is not None

    assert not has_ended(here)
    assert has_ended(replace(here, started=here.started - 1)), "its id was given again"
    assert has_ended(replace(here, pid=4_000_000_000))
    assert not has_ended(replace(here, pid=4_000_000_000, boot="another kernel"))
    assert not has_ended(replace(here, pid=4_000_000_000, pid_space=1))
    assert not has_ended(Owner(host=here.host, pid=4_000_000_000, since=here.since))
    assert not has_ended(replace(here, started=None))


def test_a_killed_process_has_ended_even_before_it_is_waited_for() -> None:
    code = (
        "import sys\nfrom pipeline.output.lock.owner_process import this_process\n"
        "print(this_process().to_json().decode(), flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        owner = read_owner(child.stdout.readline())
        assert owner is not None
        assert not has_ended(owner)
        here, until_now = this_process(), ticks_since_boot()
        assert here.started is not None
        assert owner.started is not None
        assert here.started <= owner.started <= until_now
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        assert has_ended(owner)


@pytest.mark.parametrize(
    ("name", "renewals", "released"),
    [("lock", 0, False), ("lease", 3, False), ("released_lease", 3, True)],
)
def test_what_earlier_versions_wrote_is_read(name: str, renewals: int, released: bool) -> None:
    owner = read_owner((EXAMPLES / f"{name}.json").read_bytes())

    assert owner is not None
    assert str(owner) == "process 11004 on machine, since 2026-11-30T09:53:15+00:00"
    assert (owner.renewals, owner.released) == (renewals, released)
    assert read_owner(owner.to_json()) == owner


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"host": 1}', b"\xff"])
def test_damaged_content_names_nobody(content: bytes) -> None:
    assert read_owner(content) is None
