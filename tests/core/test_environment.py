"""Where keys come from: the provider's variable, or another one that is named."""

import pytest

from pipeline.core.environment import read_api_key
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
