"""No answer takes more memory than its request justifies, however long or compressed it is."""

import asyncio
import gzip
import json
import os
import sys
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.client_bench import a_request
from support.fake_reranker import FakeReranker, Reply, served

from pipeline.core.errors import BadAnswer, Throttled, Transient
from pipeline.service.answer_body import MAX_ERROR_BYTES, max_answer_bytes
from pipeline.service.transport import HttpTransport, Timeouts
from pipeline.service.wire.formats import WIRE_FORMATS

ROOT = Path(__file__).parents[2]

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


def transport_to(url: str) -> HttpTransport:
    return HttpTransport(
        url, WIRE_FORMATS["dashscope"], model="m", api_key="a key", timeouts=Timeouts(total_s=30)
    )


async def answer_of(handler: Handler) -> object:
    """Return the scores of one request to a server with this handler."""
    app = web.Application()
    app.router.add_post("/", handler)
    async with TestServer(app) as server, transport_to(str(server.make_url("/"))) as transport:
        return await transport.send(a_request())


def endless(status: int = 200) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        while request.transport is not None:
            await response.write(b'{"results":' + b" " * 65_536)
        return response

    return handler


async def test_an_answer_without_end_is_bad_and_read_no_further() -> None:
    with pytest.raises(BadAnswer, match=r"answer_too_large: more than [\d,]+ bytes"):
        await answer_of(endless())


async def test_an_error_without_end_is_read_no_further() -> None:
    with pytest.raises(Throttled):
        await answer_of(endless(429))


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
async def test_an_answer_that_grows_when_decompressed_is_bad(compress) -> None:
    bomb = compress(bytes(10_000_000))
    encoding = "gzip" if compress is gzip.compress else "deflate"

    async with FakeReranker(Reply(200, bomb, {"Content-Encoding": encoding})) as fake:
        async with transport_to(fake.url) as transport:
            with pytest.raises(BadAnswer, match="answer_too_large"):
                await transport.send(a_request())


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "GZIP"])
async def test_a_compressed_answer_is_read(encoding) -> None:
    compress = zlib.compress if encoding == "deflate" else gzip.compress

    def reply(body: dict[str, Any]) -> Reply:
        content = compress(orjson.dumps(served(body)))
        return Reply(200, content, {"Content-Encoding": encoding})

    async with FakeReranker(reply) as fake, transport_to(fake.url) as transport:
        scores = await transport.send(a_request())

    assert scores.scores.tolist() == [1, 1 / 2, 1 / 3]


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"no gzip", "gzip"),
        (gzip.compress(b"[]" * 1_000)[:-9], "gzip"),
        (b"", "gzip"),
        (b"{}", "br"),
    ],
)
async def test_a_body_that_cannot_be_decompressed_is_a_passing_fault(content, encoding) -> None:
    async with FakeReranker(Reply(200, content, {"Content-Encoding": encoding})) as fake:
        async with transport_to(fake.url) as transport:
            with pytest.raises(Transient):
                await transport.send(a_request())


async def test_an_answer_may_repeat_its_documents_with_every_character_escaped() -> None:
    request = a_request(documents=100, text="ы" * 2_000)

    def reply(body: dict[str, Any]) -> Reply:
        answer = served(body) | {"documents": body["input"]["documents"]}
        return Reply(200, json.dumps(answer, ensure_ascii=True).encode())

    async with FakeReranker(reply) as fake, transport_to(fake.url) as transport:
        scores = await transport.send(request)

    assert len(scores.scores) == 100


def test_the_bound_grows_with_the_request() -> None:
    assert max_answer_bytes(1, 1_000) < 70_000
    assert max_answer_bytes(500, 1_000_000) > 3_000_000
    assert MAX_ERROR_BYTES <= 65_536


ASK_32_TIMES = """
import asyncio, resource, sys
from pipeline.core.errors import BadAnswer
from pipeline.service.transport import HttpTransport
from pipeline.service.wire.formats import WIRE_FORMATS
from support.client_bench import a_request, outcomes

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

async def main():
    async with HttpTransport(sys.argv[1], WIRE_FORMATS["dashscope"], model="m") as transport:
        await outcomes([transport.send(a_request())])
        before = peak_mb()
        failures = await outcomes(transport.send(a_request(number)) for number in range(32))
        assert {failure.code for failure in failures} == {"answer_too_large"}
        print(peak_mb() - before)

asyncio.run(main())
"""


def gzip_bomb(size_mb: int) -> bytes:
    deflater = zlib.compressobj(wbits=31)
    pieces = [deflater.compress(bytes(2**20)) for _ in range(size_mb)]
    return b"".join([*pieces, deflater.flush()])


async def test_bombs_of_300_mb_all_at_once_take_little_memory() -> None:
    bomb = Reply(200, gzip_bomb(300), {"Content-Encoding": "gzip"})

    async with FakeReranker(200, *[bomb] * 32) as fake:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ASK_32_TIMES, fake.url),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests")))},
        )
        out, _ = await process.communicate()

    assert process.returncode == 0
    assert int(out) < 50
