"""A PostgreSQL server on loopback, as its own user: PostgreSQL refuses to run as root."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

USER = "rerank"
_UP_WITHIN_S = 60.0


class Postgresql:
    """A running server."""

    def __init__(self, program: Path, folder: Path, user: str | None) -> None:
        self._program = program
        self._folder = folder
        self._user = user
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """The address of its database."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = ["-h", "127.0.0.1", "-p", str(self.port), "-k", "", "-F"]
        log = self._folder / "log"
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [self._program / "postgres", "-D", self._folder / "data", *options],
                user=self._user,
                group=self._user,
                cwd=self._folder,
                stdout=stream,
                stderr=stream,
            )
        deadline = time.monotonic() + _UP_WITHIN_S
        while True:
            try:
                psycopg.connect(self.address, connect_timeout=2).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            else:
                return

    def stop(self, *, at_once: bool = False) -> None:
        """Stop the server: its connections are closed, or cut at once."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
            self._process.wait(timeout=30)
            self._process = None

    def query(self, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
        """Return the rows of a statement; it is committed."""
        with psycopg.connect(self.address) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def postgresql() -> Iterator[Postgresql]:
    """Make a database and run its server while the body runs."""
    folder = Path(tempfile.mkdtemp(prefix="rerank-postgresql-"))
    user = None
    if os.geteuid() == 0:
        user = "postgres"  # Debian's package has made it
        owner = pwd.getpwnam(user)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    server = Postgresql(_programs(), folder, user)
    try:
        made = ["-D", folder / "data", "-A", "trust", "-U", USER, "--no-sync", "-E", "UTF8"]
        subprocess.run(
            [_programs() / "initdb", *made, "--locale=C"],
            user=user,
            group=user,
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        server.start()
        yield server
    finally:
        server.stop(at_once=True)
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """Return the folder of the server's programs: that of Debian's newest, else of the PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    found = str(debian[-1]) if debian else shutil.which("initdb")
    assert found, "PostgreSQL is not installed: apt-get install postgresql"
    return Path(found).parent
