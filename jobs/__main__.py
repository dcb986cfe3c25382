"""Run the command `rerank`, also as `python -m jobs`."""

import os
import signal
import sys


def main() -> int:
    """Run the command line and return its exit code; Ctrl-C while it is imported exits quietly."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored
        signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))
    from jobs.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
