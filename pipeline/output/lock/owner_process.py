"""Which process holds a lock, and whether that process has certainly ended.

A process id alone proves nothing: ids are reused, and containers count their own. So an owner also
records its kernel, its PID namespace and its start time. Where the system does not provide them
(Linux does), no process is ever considered ended.
"""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

_PROC = Path("/proc")
_ENDED_STATES = ("Z", "X", "x")


class Owner(Struct, frozen=True, kw_only=True):
    """The holder of a lock, as it is written into the lock.

    Attributes:
        since: When the owner was started or first asked for the lock; ISO 8601, UTC.
        started: When the process was started, in clock ticks since boot.
        boot: The id of the running kernel.
        pid_space: The PID namespace.
        lease: The id of the lease, where the lock is one.
        renewals: How often the lease was renewed.
        released: Whether the owner has given the lock up.
    """

    host: str
    pid: int
    since: str
    started: int | None = None
    boot: str | None = None
    pid_space: int | None = None
    lease: str | None = None
    renewals: int = 0
    released: bool = False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    def to_json(self) -> bytes:
        """Return the content of the lock."""
        return msgspec.json.encode(self)


def read_owner(content: bytes) -> Owner | None:
    """Return the owner that a lock's content names; None if it is empty or damaged."""
    try:
        return msgspec.json.decode(content, type=Owner)
    except msgspec.MsgspecError:
        return None


def this_process() -> Owner:
    """Return this process as an owner."""
    boot, pid_space = _kernel_and_namespace()
    return Owner(
        host=platform.node(),
        pid=os.getpid(),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        started=_start_time(os.getpid()),
        boot=boot,
        pid_space=pid_space,
    )


def has_ended(owner: Owner) -> bool:
    """Return whether the owner was a process of this machine that has certainly ended."""
    here = _kernel_and_namespace()
    if None in here or (owner.boot, owner.pid_space) != here or owner.started is None:
        return False
    return _start_time(owner.pid) != owner.started


def _kernel_and_namespace() -> tuple[str | None, int | None]:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return boot, (_PROC / "self/ns/pid").stat().st_ino
    except OSError:
        return None, None


def _start_time(pid: int) -> int | None:
    """Return when a process was started; None if no such process is alive."""
    try:
        # The name, in parentheses, may hold anything; the state follows it (proc_pid_stat(5)).
        facts = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if facts[0] in _ENDED_STATES else int(facts[19])
