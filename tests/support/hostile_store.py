"""An object store that fails on command: a proxy on loopback before a server that does its work."""

import http.client
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import pytest
from support.object_store import Store

Verdict: TypeAlias = Callable[[str, str], int | None]
"""Takes a call's method and path; returns the status that it fails with, or None."""

_CODES = {403: "AccessDenied", 404: "NoSuchKey", 503: "SlowDown"}


def passes(method: str, path: str) -> int | None:
    """Let every call pass."""
    return None


def slow_down(method: str, path: str) -> int | None:
    """Answer 503 to every call."""
    return 503


class Sometimes:
    """Answers 503 to a share of the calls, drawn by chance."""

    def __init__(self, share: float, seed: int = 1) -> None:
        self._share = share
        self._dice = random.Random(seed)

    def __call__(self, method: str, path: str) -> int | None:
        return 503 if self._dice.random() < self._share else None


@dataclass
class HostileStore:
    """A store before which calls may fail.

    Attributes:
        store: The store as its users see it.
        fails: Decides about each call; may be replaced at any time.
        failed: Counts the calls that failed, by method.
        calls: Counts all calls, by method.
    """

    store: Store
    fails: Verdict = passes
    failed: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def failing(self, fails: Verdict = slow_down) -> Iterator[None]:
        """Let calls fail in another way while the body runs; by default all of them."""
        before, self.fails = self.fails, fails
        try:
            yield
        finally:
            self.fails = before


@contextmanager
def hostile_store(target: Store) -> Iterator[HostileStore]:
    """Run a proxy before a store; the test's own environment is its while the body runs."""
    with (
        _Server(("127.0.0.1", 0), _Handler) as server,
        pytest.MonkeyPatch.context() as here,
    ):
        hostile = HostileStore(Store(f"http://127.0.0.1:{server.server_address[1]}"))
        server.hostile, server.target = hostile, urlsplit(target.endpoint).netloc
        here.setenv("AWS_ENDPOINT_URL", hostile.store.endpoint)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield hostile
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that were killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_call(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server.hostile.calls[self.command] += 1
        status = server.hostile.fails(self.command, self.path)
        if status is not None:
            server.hostile.failed[self.command] += 1
            code = _CODES.get(status, "InternalError")
            answer = f"<Error><Code>{code}</Code><Message>on command</Message></Error>".encode()
            self.answer(status, [("Content-Type", "application/xml")], answer)
            return
        connection = http.client.HTTPConnection(server.target, timeout=60)
        try:
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        kept = [
            (name, value)
            for name, value in response.getheaders()
            if name.lower() not in ("transfer-encoding", "connection", "content-length")
        ]
        if self.command == "HEAD":
            kept.append(("Content-Length", response.getheader("Content-Length") or "0"))
            self.answer(response.status, kept, None)
        else:
            self.answer(response.status, kept, content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_call

    def answer(self, status: int, headers: list[tuple[str, str]], content: bytes | None) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if content is not None:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if content and self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
