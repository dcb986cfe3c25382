"""A strict `_bulk` endpoint on loopback, as Elasticsearch and OpenSearch answer it.

It refuses a body whose lines are not actions and documents in turn, fails items, answers 429, drops
connections, and keeps every document that it accepted.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class BulkServer:
    """The state of the server.

    Attributes:
        documents: What was accepted, by index and `_id`.
        written: How often each `_id` was accepted.
        refused: The answer's error by `_id`: the item fails for good.
        throttled: By `_id`, how many more times the item is answered with 429.
        silent: Ids of which the answers say nothing.
        holds: Whether bulk requests wait for `release`, without an answer.
        held: Set once one waits.
        release: Lets those that wait go on.
        drops: Requests whose connection is closed without an answer, from the next one on.
        statuses: Statuses of the next bulk requests as a whole.
        answers: Of the next bulk requests, whatever they hold.
        requests: Bulk requests that were answered with 200.
        problems: What was wrong with requests; must stay empty.
        authorization: The header of the last request.
    """

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.written: Counter[str] = Counter()
        self.refused: dict[str, dict[str, Any]] = {}
        self.throttled: Counter[str] = Counter()
        self.silent: set[str] = set()
        self.holds = False
        self.held, self.release = threading.Event(), threading.Event()
        self.drops = 0
        self.statuses: list[int] = []
        self.answers: list[Any] = []
        self.requests = 0
        self.problems: list[str] = []
        self.authorization: str | None = None
        self.address = ""
        self.lock = threading.Lock()

    def bulk(self, body: bytes) -> dict[str, Any]:
        """Answer a body; ValueError if it is malformed."""
        if not body.endswith(b"\n"):
            raise ValueError("the body does not end with a line feed")
        lines = body[:-1].split(b"\n")
        if len(lines) % 2:
            raise ValueError("an action has no document")
        items = [
            self._item(json.loads(action), json.loads(source))
            for action, source in zip(lines[::2], lines[1::2], strict=True)
        ]
        items = [item for item in items if next(iter(item.values()))["_id"] not in self.silent]
        errors = any("error" in next(iter(item.values())) for item in items)
        return {"took": 1, "errors": errors, "items": items}

    def _item(self, action: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
        ((verb, target),) = action.items()
        if verb not in ("index", "update") or set(target) != {"_index", "_id"}:
            raise ValueError(f"not an action: {action}")
        if verb == "update" and (set(source) != {"doc", "doc_as_upsert"}):
            raise ValueError(f"not an update: {source}")
        index, name = target["_index"], target["_id"]
        answer: dict[str, Any] = {"_index": index, "_id": name}
        if name in self.refused:
            return {verb: answer | {"status": 400, "error": self.refused[name]}}
        if self.throttled[name] > 0:
            self.throttled[name] -= 1
            error = {"type": "es_rejected_execution_exception", "reason": "queue is full"}
            return {verb: answer | {"status": 429, "error": error}}
        documents = self.documents.setdefault(index, {})
        if verb == "index":
            documents[name] = source
        else:
            documents[name] = documents.get(name, {}) | source["doc"]
        self.written[name] += 1
        return {verb: answer | {"status": 201, "result": "created"}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        state = self.server.state
        index = self.path.split("/")[1].partition("?")[0]
        if "_settings" in self.path and index in state.documents:
            uuid = {"index": {"uuid": f"uuid-of-{index}"}}
            self._answer(200, {index: {"settings": uuid}})
        elif "_settings" in self.path:
            error = {"type": "index_not_found_exception", "reason": f"no such index [{index}]"}
            self._answer(404, {"error": error, "status": 404})
        else:
            self._answer(200, {"version": {"number": "9.1.0"}, "tagline": "You Know, for Search"})

    def do_POST(self) -> None:
        state = self.server.state
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        state.authorization = self.headers.get("Authorization")
        if state.holds:
            state.held.set()
            state.release.wait()
            self.close_connection = True
            return
        with state.lock:
            if state.drops:
                state.drops -= 1
                self.close_connection = True
                self.connection.close()
                return
            if state.statuses:
                self._answer(state.statuses.pop(0), {"error": {"type": "told_so"}, "status": 0})
                return
            if (
                self.path.partition("?")[0] != "/_bulk"
                or "json" not in self.headers["Content-Type"]
            ):
                state.problems.append(self.path)
            if state.answers:
                self._answer(200, state.answers.pop(0))
                return
            try:
                answer = state.bulk(body)
            except (ValueError, KeyError) as error:
                state.problems.append(str(error))
                self._answer(400, {"error": {"type": "illegal_argument_exception"}, "status": 400})
                return
            state.requests += 1
        self._answer(200, answer)

    do_PUT = do_POST

    def _answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        kind = "application/vnd.elasticsearch+json;compatible-with=9"
        accepted = self.headers.get("Accept", "")
        self.send_header(
            "Content-Type", kind if "elasticsearch" in accepted else "application/json"
        )
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    state: BulkServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: clients may hang up."""


@contextmanager
def bulk_server() -> Iterator[BulkServer]:
    """Run the server in a thread while the body runs."""
    state = BulkServer()
    server = _Server(("127.0.0.1", 0), _Handler)
    server.state = state
    state.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
    assert state.problems == []
