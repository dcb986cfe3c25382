"""Connections are opened by the proxy of the environment; its password is shown nowhere."""

import base64

import pytest
from support.client_bench import a_request, http_bench
from support.fake_reranker import PATH, FakeReranker, Reply

from pipeline.core.errors import OutageTooLong, SettingsError

USER, PASSWORD = "user", "p@ss-of-the-proxy"


def proxy_of(fake: FakeReranker) -> str:
    return fake.url.removesuffix(PATH).replace("http://", "http://user:p%40ss-of-the-proxy@")


async def test_a_request_goes_to_the_proxy_which_gets_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with FakeReranker() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy_of(proxy))
        async with http_bench(url=f"http://service.invalid{PATH}") as b:
            await b.client.score(a_request())

        (call,) = proxy.calls
    assert call.headers["Host"] == "service.invalid"
    kind, _, sent = call.headers["Proxy-Authorization"].partition(" ")
    assert (kind, base64.b64decode(sent).decode()) == ("Basic", f"{USER}:{PASSWORD}")


async def test_a_proxy_that_refuses_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with FakeReranker(otherwise=Reply(407)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy_of(proxy))
        async with http_bench(url="https://service.invalid/", max_outage_s=0.2) as b:
            with pytest.raises(OutageTooLong) as caught:
                await b.client.score(a_request())

    message = str(caught.value)
    assert "service.invalid:443 by the proxy 127.0.0.1:" in message
    assert "the proxy answers HTTP 4" in message
    assert PASSWORD not in message
    assert "p%40ss" not in message


async def test_a_proxy_that_is_not_reached_is_named(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_tcp_port}")
    async with http_bench(url="http://service.invalid/", max_outage_s=0.2) as b:
        with pytest.raises(OutageTooLong, match="the proxy is not reached"):
            await b.client.score(a_request())


async def test_no_proxy_and_this_machine_are_reached_directly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    async with http_bench() as b:
        await b.client.score(a_request())

        assert b.num_calls == 1


async def test_a_proxy_that_cannot_be_used_is_a_settings_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"socks5://u:{PASSWORD}@proxy.invalid:1080")
    with pytest.raises(SettingsError, match="HTTP_PROXY: not the address") as caught:
        async with http_bench(url="http://service.invalid/"):
            pass

    assert PASSWORD not in str(caught.value)
