"""An nginx on loopback that answers every request alike: it costs next to no CPU."""

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ECHO = "ngx_http_echo_module.so"
START_S = 10.0
RESPONSE_ID = "0b7c1f5e-8f6d-4f0a-9d6b-2f4b8c1d7e3a"
"""A UUID, as the services that this stands for give."""


class NoEchoModule(Exception):
    """The nginx of this machine cannot delay an answer."""

    def __init__(self) -> None:
        super().__init__(f"nginx has no {ECHO} here (Debian: libnginx-mod-http-echo)")


@contextmanager
def nginx_stub(folder: Path, documents: int, delay_s: float = 0.0) -> Iterator[str]:
    """Run an nginx that answers with scores for so many documents after a delay; yield its address.

    Raises:
        NoEchoModule: if there is to be a delay.
        SystemExit: if nginx is missing or does not start.
    """
    if shutil.which("nginx") is None:
        raise SystemExit("nginx is missing, which stands for the service")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "nginx.conf").write_text(_configuration(folder, port, _answer(documents), delay_s))
    server = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)])
    try:
        deadline = time.monotonic() + START_S
        while not _listens(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("nginx did not start")
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}/rerank"
    finally:
        server.terminate()
        server.wait()


def _answer(documents: int) -> str:
    results = [
        {"index": i, "relevance_score": round(1 - i / (documents + 1), 6)} for i in range(documents)
    ]
    usage = {"total_tokens": 5000}
    return json.dumps({"output": {"results": results}, "usage": usage, "request_id": RESPONSE_ID})


def _configuration(folder: Path, port: int, answer: str, delay_s: float) -> str:
    assert "'" not in answer
    assert "$" not in answer
    # nginx takes no string of more than 4 kB, but as many variables as one likes.
    pieces = [answer[start : start + 3_000] for start in range(0, len(answer), 3_000)]
    settings = " ".join(f"set $a{i} '{piece}';" for i, piece in enumerate(pieces))
    whole = "".join(f"${{a{i}}}" for i in range(len(pieces)))
    module, says = "", f"return 200 '{whole}';"
    if delay_s:
        module = f"load_module {_echo_module()};"
        says = f"echo_read_request_body; echo_sleep {delay_s}; echo -n '{whole}';"
    return f"""
{module}
daemon off; pid {folder}/nginx.pid; error_log stderr crit; worker_processes 1;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_buffer_size 4m; client_max_body_size 64m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 100000000; default_type application/json;
  server {{ listen 127.0.0.1:{port} backlog=1024; location / {{ {settings} {says} }} }}
}}"""


def _echo_module() -> Path:
    """Return the module's file, in the modules folder of this nginx."""
    built = subprocess.run(["nginx", "-V"], capture_output=True, text=True, check=True).stderr
    folder = re.search(r"--modules-path=(\S+)", built)
    if folder is None or not (module := Path(folder[1]) / ECHO).exists():
        raise NoEchoModule
    return module


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
