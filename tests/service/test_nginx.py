"""The pace against a rate limiter that is not ours: nginx's limit_req, a leaky bucket of 50/s."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.client_bench import http_bench, score_all

from pipeline.core.errors import RerankError
from pipeline.core.settings import Pace

NGINX = shutil.which("nginx")
PER_S = 50

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")

CONFIG = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  limit_req_zone $http_authorization zone=perkey:1m rate={per_s}r/s;
  limit_req_status 429;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      limit_req zone=perkey burst=5 nodelay;
      error_page 429 @refused;
      proxy_pass http://127.0.0.1:{inner_port};
    }}
    location @refused {{
      add_header Retry-After 1 always;
      return 429 '{{"code":"Throttling.RateQuota","message":"too many"}}';
    }}
  }}
  server {{
    listen 127.0.0.1:{inner_port};
    location / {{
      return 200 '{{"output":{{"results":[{{"index":0,"relevance_score":0.5}}]}},
                   "usage":{{"total_tokens":9}},"request_id":"r"}}';
    }}
  }}
}}
"""


@asynccontextmanager
async def nginx(folder: Path, port: int, inner_port: int) -> AsyncIterator[str]:
    assert NGINX is not None
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, inner_port=inner_port, per_s=PER_S))
    process = await asyncio.create_subprocess_exec(
        *(NGINX, "-c", str(config), "-e", str(folder / "error.log"))
    )
    try:
        await until_it_listens(port)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        await process.wait()


async def until_it_listens(port: int) -> None:
    for _ in range(100):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            await writer.wait_closed()
            return


async def test_a_quota_configured_exactly_is_used_whole_and_never_refused(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    async with nginx(tmp_path, unused_tcp_port_factory(), unused_tcp_port_factory()) as url:
        async with http_bench(url=url, pace=Pace(requests_per_minute=60 * PER_S)) as b:
            results = await score_all(b.client, 3 * PER_S, documents=1)

    assert not [result for result in results if isinstance(result, RerankError)]
    assert b.metrics.throttled == 0
    assert b.quota_use.admitted_s <= 3 / 0.85  # a busy machine is late; the benchmark holds 98 %


async def test_a_quota_configured_twice_too_high_loses_nothing(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    async with nginx(tmp_path, unused_tcp_port_factory(), unused_tcp_port_factory()) as url:
        async with http_bench(url=url, pace=Pace(requests_per_minute=120 * PER_S)) as b:
            results = await score_all(b.client, 6 * PER_S, documents=1)

    assert not [result for result in results if isinstance(result, RerankError)]
    assert 0 < b.metrics.throttled <= 0.1 * 6 * PER_S
    assert b.quota_use.admitted_s <= 6 / 0.7  # of these, a pause of one second after each refusal
