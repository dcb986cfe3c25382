"""A Google Cloud Storage server on loopback: the XML API, with generation preconditions.

An object's generation changes with every write. `x-goog-if-generation-match` names the generation
that may be replaced, 0 for none; another one is stored: 412
(cloud.google.com/storage/docs/xml-api/reference-headers). ETags alone are not accepted.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

BUCKET = "lake"


class Stored(NamedTuple):
    content: bytes
    generation: int
    modified: datetime

    @property
    def etag(self) -> str:
        """Return the ETag, which equal contents share."""
        return f'"{hashlib.md5(self.content).hexdigest()}"'


class GoogleStore(ThreadingHTTPServer):
    """One bucket in memory."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.generation = 1_000
        self.lock = threading.Lock()

    def put(self, key: str, content: bytes, expected: str | None) -> Stored | None:
        """Store an object; None if another generation than the expected one is stored."""
        with self.lock:
            there = self.objects.get(key)
            if expected is not None and int(expected) != (there.generation if there else 0):
                return None
            self.generation += 1
            self.objects[key] = Stored(content, self.generation, datetime.now(UTC))
            return self.objects[key]


class _Handler(BaseHTTPRequestHandler):
    server: GoogleStore
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        key, query = self._target()
        if key:
            self._send_object(key, with_content=True)
        else:
            self._send(200, self._listing(query).encode(), {"Content-Type": "application/xml"})

    def do_HEAD(self) -> None:
        self._send_object(self._target()[0], with_content=False)

    def do_PUT(self) -> None:
        key, query = self._target()
        content = self._body()
        if "uploadId" in query:
            self.server.uploads[query["uploadId"][0]][int(query["partNumber"][0])] = content
            self._send(200, b"", {"ETag": f'"{hashlib.md5(content).hexdigest()}"'})
            return
        stored = self.server.put(key, content, self.headers.get("x-goog-if-generation-match"))
        if stored is None:
            self._send(412, b"<Error><Code>PreconditionFailed</Code></Error>", {})
        else:
            self._send(200, b"", self._facts(stored))

    def do_POST(self) -> None:
        key, query = self._target()
        self._body()
        if "uploads" in query:
            upload = f"upload-{len(self.server.uploads)}"
            self.server.uploads[upload] = {}
            answer = (
                f"<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{escape(key)}</Key>"
                f"<UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            )
            self._send(200, answer.encode(), {"Content-Type": "application/xml"})
            return
        pieces = self.server.uploads.pop(query["uploadId"][0])
        stored = self.server.put(key, b"".join(pieces[at] for at in sorted(pieces)), None)
        assert stored is not None
        answer = (
            f"<CompleteMultipartUploadResult><ETag>{escape(stored.etag)}</ETag>"
            "</CompleteMultipartUploadResult>"
        )
        self._send(200, answer.encode(), self._facts(stored))

    def do_DELETE(self) -> None:
        key, _ = self._target()
        with self.server.lock:
            found = self.server.objects.pop(key, None)
        self._send(204 if found else 404, b"", {})

    def _target(self) -> tuple[str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        _, _, key = unquote(parts.path).lstrip("/").partition("/")
        return key, parse_qs(parts.query, keep_blank_values=True)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send_object(self, key: str, *, with_content: bool) -> None:
        stored = self.server.objects.get(key)
        if stored is None:
            self._send(404, b"<Error><Code>NoSuchKey</Code></Error>", {}, with_content=with_content)
            return
        content, status, facts = stored.content, 200, self._facts(stored)
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start = int(first) if first else len(content) - int(last)
            stop = min(int(last) + 1, len(content)) if first and last else len(content)
            facts["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
            content, status = content[start:stop], 206
        self._send(status, content, facts, with_content=with_content)

    def _send(
        self, status: int, content: bytes, facts: dict[str, str], *, with_content: bool = True
    ) -> None:
        self.send_response(status)
        for name, value in facts.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def _facts(self, stored: Stored) -> dict[str, str]:
        return {
            "ETag": stored.etag,
            "x-goog-generation": str(stored.generation),
            "Last-Modified": format_datetime(stored.modified, usegmt=True),
        }

    def _listing(self, query: dict[str, list[str]]) -> str:
        prefix = query.get("prefix", [""])[0]
        delimiter = query.get("delimiter", [""])[0]
        rows, folders = list[str](), set[str]()
        for key, stored in sorted(self.server.objects.items()):
            if not key.startswith(prefix):
                continue
            head, found, _ = key[len(prefix) :].partition(delimiter or "\0")
            if delimiter and found:
                folders.add(prefix + head + delimiter)
                continue
            rows.append(
                f"<Contents><Key>{escape(key)}</Key><Size>{len(stored.content)}</Size>"
                f"<LastModified>{stored.modified:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
                f"<ETag>{escape(stored.etag)}</ETag></Contents>"
            )
        shared = "".join(
            f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
            for name in sorted(folders)
        )
        return f"<ListBucketResult>{''.join(rows)}{shared}</ListBucketResult>"


@contextmanager
def google_store() -> Iterator[GoogleStore]:
    """Run the server in a thread, and point the environment of this process to it."""
    server = GoogleStore()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    host, port = server.server_address[:2]
    account = {
        "gcs_base_url": f"http://{host!s}:{port}",
        "disable_oauth": True,
        "client_email": "",
        "private_key": "",
        "private_key_id": "",
    }
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))
        try:
            yield server
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
