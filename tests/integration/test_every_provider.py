"""Every preset reranks the sample against the strict endpoint of its format, as a user would."""

from pathlib import Path

import polars as pl
import pytest
from support.real_runs import SAMPLE, environment, rerank

from jobs.emulator.vendor_formats import FORMATS
from pipeline.api.emulator_process import emulator_process
from pipeline.core.models import PROFILES
from pipeline.core.providers import EMULATOR_PATH, PROVIDERS

CANDIDATES = SAMPLE / "candidates.parquet"
QWEN = PROFILES["qwen3-rerank"]
SOLD = {name for name, provider in PROVIDERS.items() if provider.is_sold}


def ranking(output: Path) -> pl.DataFrame:
    return pl.read_parquet(output / "part-*.parquet").select("query_id", "doc_id", "rank")


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_preset_reranks_the_sample(name: str, tmp_path: Path) -> None:
    provider = PROVIDERS[name]
    path = FORMATS[provider.wire_format]
    with emulator_process("--format", provider.wire_format) as address:
        url = address if address.endswith(path) else address + path
        native = address.removesuffix(path) + EMULATOR_PATH
        model = provider.default_model or "a/model"
        options = ("--url", url, "--model", model, "--no-progress", "--merge", "trust")
        variables = {} if provider.api_key_env is None else {provider.api_key_env: "key"}

        ended = rerank(
            "run",
            SAMPLE / "candidates.parquet",
            tmp_path / "out",
            "--provider",
            name,
            *options,
            env=environment(**variables),
        )
        expected = rerank(
            *("run", CANDIDATES, tmp_path / "native", "--provider", "emulator", "--url", native),
            *("--no-progress", "--merge", "trust"),
        )

    assert (ended.code, expected.code) == (0, 0), ended.err
    mine, theirs = ranking(tmp_path / "out"), ranking(tmp_path / "native")
    assert mine.height == theirs.height
    # Where limits differ, long documents are cut at other places and get other scores.
    assert (mine["doc_id"] == theirs["doc_id"]).mean() > (0.9 if provider.limits != QWEN else 0.99)


def test_the_preset_of_a_multimodal_model_reranks_the_sample_of_pictures(tmp_path: Path) -> None:
    options = ("--provider", "dashscope-cn", "--model", "qwen3-vl-rerank", "--no-progress")

    with emulator_process("--api-key", "key") as address:
        ended = rerank(
            *("run", SAMPLE / "pictures.parquet", tmp_path / "out", *options),
            *("--url", address + EMULATOR_PATH),
            env=environment(DASHSCOPE_API_KEY="key"),
        )

    assert ended.code == 0, ended.err
    best = ranking(tmp_path / "out").filter(pl.col("rank") == 1)
    assert best.sort("query_id")["doc_id"].to_list() == ["tent-red", "note-lantern", "boot-brown"]


@pytest.mark.parametrize("name", sorted(SOLD))
def test_a_preset_of_a_service_that_is_sold_needs_a_key(name: str, tmp_path: Path) -> None:
    options = ("--provider", name, "--url", "http://127.0.0.1:9/rerank", "--no-progress")

    ended = rerank("run", SAMPLE / "candidates.parquet", tmp_path / "out", *options)

    assert ended.code == 2
    assert f"{PROVIDERS[name].api_key_env}: no API key" in ended.err
    assert not (tmp_path / "out").exists()
