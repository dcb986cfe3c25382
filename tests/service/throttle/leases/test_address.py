"""Which quota an address names, and that nothing private is shown."""

import pytest

from pipeline.core.errors import SettingsError
from pipeline.service.throttle.leases.address import parse_address, quota_of

KEY = "sk-a-key-that-nobody-may-see"


def test_without_a_name_a_quota_is_that_of_provider_model_and_key() -> None:
    names = {
        quota_of(provider, model, key)
        for provider, model, key in [
            ("dashscope", "qwen3-rerank", KEY),
            ("dashscope", "qwen3-rerank", KEY),
            ("dashscope", "qwen3-rerank", KEY + "2"),
            ("dashscope", "gte-rerank-v2", KEY),
            ("cohere", "qwen3-rerank", KEY),
            ("vllm", "m", None),
        ]
    }

    assert len(names) == 5
    assert not any(KEY in name or "sk-" in name for name in names)


@pytest.mark.parametrize(
    ("url", "used", "name"),
    [
        ("http://host:8900", "http://host:8900", ""),
        ("https://host/nightly%20run", "https://host", "nightly run"),
        ("redis://host:6379/2", "redis://host:6379/2", ""),
        ("rediss://:secret@host/0?name=nightly", "rediss://:secret@host/0", "nightly"),
    ],
)
def test_a_name_stands_in_the_path_or_for_redis_in_the_query(url, used, name) -> None:
    address = parse_address(url)

    assert (address.url, address.name) == (used, name)
    assert "secret" not in address.shown


@pytest.mark.parametrize("url", ["", "host:80", "ftp://host", "http://:80", "http://h:x", "redis:"])
def test_an_address_of_anything_else_is_refused(url) -> None:
    with pytest.raises(SettingsError):
        parse_address(url)


def test_a_password_in_an_http_address_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError) as refused:
        parse_address("http://user:secret@host:80")

    assert "secret" not in str(refused.value)
