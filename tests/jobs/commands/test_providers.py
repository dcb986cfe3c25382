"""`rerank providers` lists every preset with what is published of it."""

import json

from click.testing import CliRunner

from jobs.cli import cli
from pipeline.core.providers import PROVIDERS


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["providers", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_every_preset_is_listed_with_its_address_and_key() -> None:
    shown = run()

    for provider in PROVIDERS.values():
        assert f"{provider.name}  {provider.url or 'give --url'}" in shown
        assert provider.api_key_env is None or provider.api_key_env in shown
        assert f"source: {provider.source}" in shown


def test_prices_are_those_of_the_region() -> None:
    facts = {one["provider"]: one for one in json.loads(run("--json"))["providers"]}

    def price(name: str) -> float:
        return next(m for m in facts[name]["models"] if m["model"] == "qwen3-rerank")[
            "usd_per_million_tokens"
        ]

    assert (price("dashscope"), price("dashscope-cn")) == (0.1, 0.069)
    assert [model["model"] for model in facts["dashscope"]["models"]] == ["qwen3-rerank"]
    assert facts["vllm"]["requires_key"] is False
