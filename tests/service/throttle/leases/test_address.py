"""Which quota an address names, and that nothing private is shown."""

import pytest

from pipeline.core.errors import SettingsError
from pipeline.service.throttle.leases.address import lease_path, parse_address, quota_of

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


def test_every_version_of_this_program_names_a_quota_alike() -> None:
    """Else runs of two versions would each take the whole of it."""
    assert quota_of("dashscope", "qwen3-rerank", KEY) == "dashscope/qwen3-rerank/19024df2"
    assert quota_of("vllm", "m", None) == "vllm/m/no-key"
    assert lease_path("vllm/a model/no-key") == "/lease/vllm/a%20model/no-key"


@pytest.mark.parametrize(
    ("url", "used", "name"),
    [
        ("http://host:8900", "http://host:8900", ""),
        ("https://host/nightly%20run", "https://host", "nightly run"),
        ("http://host:1/XL/", "http://host:1", "XL"),
        ("redis://host:6379/2#part", "redis://host:6379/2", ""),
        ("rediss://:secret@host/0?name=nightly", "rediss://:secret@host/0", "nightly"),
    ],
)
def test_a_name_stands_in_the_path_or_for_redis_in_the_query(url, used, name) -> None:
    address = parse_address(url)

    assert (address.url, address.name) == (used, name)
    assert "secret" not in address.shown


@pytest.mark.parametrize(
    "url",
    ["", "host:80", "ftp://host", "http://:80", "http://h:x", "http://h:0", "http://[h", "redis:"],
)
def test_an_address_of_anything_else_is_refused_and_shown(url) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_address(url)

    assert str(refused.value).startswith("--quota: not the address of a quota (")
    assert f"(found {url}, expected http:" in str(refused.value)


@pytest.mark.parametrize("url", ["ftp://user:secret@host", "http://user:secret@host:80"])
def test_a_password_in_an_address_that_is_refused_is_not_shown(url) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_address(url)

    assert "secret" not in str(refused.value)


def test_a_leaser_in_redis_shows_its_address_without_the_password() -> None:
    leaser = parse_address("rediss://user:secret@host:6379/2?name=nightly").leaser("nightly", None)

    assert leaser.name == "rediss://host:6379/2"
