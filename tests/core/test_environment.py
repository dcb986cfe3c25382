"""Keys come from the provider's variable or another one; proxies from the usual variables."""

import pytest

from pipeline.core.environment import read_api_key, read_proxy
from pipeline.core.errors import SettingsError
from pipeline.core.providers import PROVIDERS


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in PROVIDERS.values():
        if provider.api_key_env:
            monkeypatch.delenv(provider.api_key_env, raising=False)


def test_the_key_comes_from_the_providers_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", " sk-1\n")

    assert read_api_key(PROVIDERS["dashscope"]) == "sk-1"


def test_another_variable_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-1")
    monkeypatch.setenv("NIGHT_KEY", "sk-2")

    assert read_api_key(PROVIDERS["dashscope"], "NIGHT_KEY") == "sk-2"
    assert read_api_key(PROVIDERS["emulator"], "NIGHT_KEY") == "sk-2"


@pytest.mark.parametrize("value", [None, "", " \t"])
def test_an_unset_or_blank_variable_is_a_settings_error(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("DASHSCOPE_API_KEY", value)

    with pytest.raises(SettingsError) as caught:
        read_api_key(PROVIDERS["dashscope"])

    assert str(caught.value) == (
        "DASHSCOPE_API_KEY: no API key; export DASHSCOPE_API_KEY=... or name another variable"
        " with --api-key-env"
    )


def test_the_emulator_needs_no_variable() -> None:
    assert read_api_key(PROVIDERS["emulator"])


PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("url", "variables", "expected"),
    [
        ("https://api.example/x", {}, None),
        ("https://api.example/x", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https://api.example/x", {"https_proxy": PROXY}, PROXY),
        ("https://api.example/x", {"HTTP_PROXY": PROXY}, None),
        ("http://api.example/x", {"HTTP_PROXY": PROXY}, PROXY),
        ("http://api.example/x", {"HTTP_PROXY": "proxy.example:3128"}, PROXY),
        ("http://api.example/x", {"HTTP_PROXY": ""}, None),
        ("http://api.example/x", {"HTTP_PROXY": PROXY, "NO_PROXY": "a.b, api.example"}, None),
        ("http://api.example:99/x", {"HTTP_PROXY": PROXY, "NO_PROXY": ".example"}, None),
        ("http://api.example/x", {"HTTP_PROXY": PROXY, "NO_PROXY": "other.example"}, PROXY),
        ("http://api.example/x", {"HTTP_PROXY": PROXY, "NO_PROXY": "*"}, None),
        ("http://127.0.0.1:99/x", {"HTTP_PROXY": PROXY}, None),
        ("http://[::1]:99/x", {"HTTP_PROXY": PROXY}, None),
        ("http://localhost:99/x", {"HTTP_PROXY": PROXY}, None),
    ],
)
def test_the_proxy_of_a_url(
    url: str, variables: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert read_proxy(url) == expected


@pytest.mark.parametrize(
    "proxy",
    ["socks5://p:1080", "https://p:443", "http://", "http://p:99999", "http://[p", "http:p"],
)
def test_an_unusable_proxy_is_a_settings_error(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    with pytest.raises(SettingsError, match="HTTPS_PROXY: not the address of an HTTP proxy"):
        read_proxy("https://api.example/x")
