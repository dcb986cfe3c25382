"""The leaser over HTTP: what it sends, and which answers end a run."""

import pytest
from support.fake_quota_server import FakeQuotaServer

from pipeline.core.errors import SettingsError
from pipeline.service.throttle.leases.http_leaser import HttpLeaser
from pipeline.service.throttle.leases.leaser import LeaserLost
from pipeline.service.throttle.leases.messages import Ask, Grant, Report, Slot

ASK = Ask("a taker", 2.0, None, [3.0, 4.0], Report(5, unused=[Slot(6.0, 7.0)]), epoch=8.0)
GRANT = Grant(1.0, epoch=2.0, slots=[Slot(3.0, 4.0)], share=0.5, takers=2)


async def ask(url: str, bucket: str = "quota", token: str | None = None) -> Grant:
    async with HttpLeaser(url, bucket, token) as leaser:
        return await leaser.ask(ASK)


async def test_the_server_hears_what_the_taker_says_and_its_grant_is_returned() -> None:
    async with FakeQuotaServer(GRANT) as server:
        granted = await ask(server.url, "nightly run/1")

    (asked,) = server.asked
    assert granted == GRANT
    assert (asked.url, asked.ask) == ("/lease/nightly%20run/1", ASK)
    assert asked.headers["Content-Type"] == "application/json"
    assert "Authorization" not in asked.headers


async def test_a_token_is_shown_to_the_server() -> None:
    async with FakeQuotaServer(GRANT) as server:
        await ask(server.url, token="let-me-in")

    (asked,) = server.asked
    assert asked.headers["Authorization"] == "Bearer let-me-in"


async def test_a_cookie_is_not_kept() -> None:
    async with (
        FakeQuotaServer(GRANT, headers={"Set-Cookie": "name=value"}) as server,
        HttpLeaser(server.url.replace("127.0.0.1", "localhost"), "quota", None) as leaser,
    ):
        for _ in range(2):
            await leaser.ask(ASK)

    assert [asked.headers.get("Cookie") for asked in server.asked] == [None, None]


async def test_a_server_behind_a_proxy_is_asked_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeQuotaServer(GRANT) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        granted = await ask("http://quota.invalid:8900")

    (asked,) = proxy.asked
    assert granted == GRANT
    assert asked.url == "http://quota.invalid:8900/lease/quota"


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "the quota server refuses the token; --quota-token-env names the variable"),
        (404, "not a quota server (found 404); give the address that rerank quota serve printed"),
    ],
)
async def test_a_server_that_will_never_grant_ends_the_run(status: int, told: str) -> None:
    async with FakeQuotaServer(GRANT, status) as server:
        with pytest.raises(SettingsError) as refused:
            await ask(server.url, token="the-wrong-one")

    assert str(refused.value).startswith(f"--quota {server.url}: {told}")
    assert "the-wrong-one" not in str(refused.value)


@pytest.mark.parametrize(
    ("server", "told"),
    [
        (FakeQuotaServer(GRANT, 500), "status 500"),
        (FakeQuotaServer(GRANT, 201), "status 201"),
        (FakeQuotaServer(GRANT, 307, {"Location": "/elsewhere"}), "status 307"),
        (FakeQuotaServer(b"{}"), "an answer that is not a grant"),
        (FakeQuotaServer(b"nonsense"), "an answer that is not a grant"),
    ],
    ids=["failure", "another success", "redirect", "no grant", "no JSON"],
)
async def test_what_is_no_grant_is_told_in_a_line_and_nothing_else_is_asked(
    server: FakeQuotaServer, told: str
) -> None:
    async with server:
        with pytest.raises(LeaserLost) as lost:
            await ask(server.url)

    assert str(lost.value) == told
    assert len(server.asked) == 1


async def test_a_server_that_is_not_reached_is_told_in_a_line(unused_tcp_port: int) -> None:
    with pytest.raises(LeaserLost, match=f"127.0.0.1:{unused_tcp_port}"):
        await ask(f"http://127.0.0.1:{unused_tcp_port}")
