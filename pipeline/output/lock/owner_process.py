"""Which process this is, and whether another one of this machine is certainly gone.

A process id alone proves nothing: it is given again, and containers count their own. So an owner
also writes down which kernel it runs on, in which space of process ids, and when it was started.
Where the system does not tell (it does on Linux), no process is ever certainly gone.
"""

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_PROC = Path("/proc")
_DEAD_STATES = ("Z", "X", "x")


def this_process() -> dict[str, Any]:
    """What an owner writes down: who it is for people, and for `is_gone`."""
    return {
        "host": platform.node(),
        "pid": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "started": _started(os.getpid()),
        **_here(),
    }


def is_gone(owner: Mapping[str, Any]) -> bool:
    """Whether the owner was a process of this machine, and is certainly no more."""
    here = _here()
    is_ours = all(owner.get(name) is not None and owner[name] == here[name] for name in here)
    pid, started = owner.get("pid"), owner.get("started")
    if not (is_ours and isinstance(pid, int) and isinstance(started, int)):
        return False
    return _started(pid) != started


def _here() -> dict[str, Any]:
    """The running kernel and the space of process ids; None where the system does not tell."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        space = (_PROC / "self/ns/pid").stat().st_ino
    except OSError:
        return {"boot": None, "pid_space": None}
    return {"boot": boot, "pid_space": space}


def _started(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot; None if there is none that lives."""
    try:
        # The name, in parentheses, may hold anything; the state follows it (proc_pid_stat(5)).
        facts = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if facts[0] in _DEAD_STATES else int(facts[19])
