"""Starts a command and tells what it took, from a process too small to count.

On Linux a child's peak memory begins at what its parent held when it forked, so a benchmark that
holds a data set cannot be that parent. `launch.py STDERR COMMAND...` prints the process id, which
is also its group's, and at the end one line of JSON. Run it with `-S -E`.
"""

import json
import os
import sys
import time

APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def main() -> None:
    """Run the command to its end."""
    log, *command = sys.argv[1:]
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, log, APPEND, 0o644),
        (os.POSIX_SPAWN_DUP2, 2, 1),
    ]
    began = time.monotonic()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=files, setpgroup=0)
    print(pid, flush=True)
    _, status, usage = os.wait4(pid, 0)
    took = {
        "status": os.waitstatus_to_exitcode(status),
        "wall_s": time.monotonic() - began,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2),
    }
    print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main()
