"""The leases that a run's settings name."""

from typing import Any

import pytest
from support.fake_quota_server import Asked, FakeQuotaServer
from support.leasers import FakeLeaser

from pipeline.core.errors import SettingsError
from pipeline.core.models import PROFILES
from pipeline.core.providers import PROVIDERS
from pipeline.core.settings import Pace, RunSettings
from pipeline.service.throttle.leases.connect import open_leases, quota_name
from pipeline.service.throttle.leases.messages import Grant

KEY = "sk-a-key-that-nobody-may-see"


def settings(**how: Any) -> RunSettings:
    provider, profile = PROVIDERS["dashscope"], PROFILES["qwen3-rerank"]
    return RunSettings(provider=provider, profile=profile, url="http://localhost", **how)


async def first_ask(path: str = "", **how: Any) -> Asked:
    """Return what a run with these settings tells the leaser first."""
    async with FakeQuotaServer(Grant(0.0)) as server:
        leases = open_leases(settings(quota=server.url + path, **how), KEY)
        assert leases is not None
        async with leases.running():
            pass
    return server.asked[0]


def test_a_quota_that_is_not_shared_has_no_leases() -> None:
    assert open_leases(settings(), KEY) is None


async def test_the_quota_is_leased_by_its_name_or_by_provider_model_and_key() -> None:
    named, of_service = await first_ask("/nightly"), await first_ask()

    assert named.url == "/lease/nightly"
    assert of_service.url == f"/lease/{quota_name(settings(), KEY)}"
    assert quota_name(settings(), KEY).startswith("dashscope/qwen3-rerank/")
    assert quota_name(settings(), KEY) != quota_name(settings(), None)


@pytest.mark.parametrize(
    ("per_minute", "per_s"), [((600.0, 30_000.0), (10.0, 500.0)), ((None, None), (None, None))]
)
async def test_the_leaser_hears_the_quota_of_the_settings_in_units_a_second(
    per_minute: tuple[float | None, float | None], per_s: tuple[float | None, float | None]
) -> None:
    requests, tokens = per_minute
    pace = Pace(requests_per_minute=requests, tokens_per_minute=tokens)

    asked = await first_ask(pace=pace)

    assert (asked.ask.requests_per_s, asked.ask.tokens_per_s) == per_s


async def test_the_token_is_that_of_the_variable_that_the_settings_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QUOTA_TOKEN", "let-me-in")

    asked = await first_ask(quota_token_env="QUOTA_TOKEN")

    assert asked.headers["Authorization"] == "Bearer let-me-in"


def test_a_variable_without_a_token_is_named_with_its_option() -> None:
    with pytest.raises(SettingsError, match=r"^--quota-token-env NO_SUCH: no token"):
        open_leases(settings(quota="http://host:8900", quota_token_env="NO_SUCH"), KEY)


async def test_a_leaser_that_is_given_is_asked_in_the_place_of_the_address() -> None:
    leaser = FakeLeaser()
    leases = open_leases(settings(quota="http://quota.invalid"), KEY, leaser)

    assert leases is not None
    async with leases.running(max_unreached_s=0.0):
        assert leaser.asked == 1
