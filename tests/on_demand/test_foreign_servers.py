"""Runs against rerank servers that are not ours: infinity, and LiteLLM's proxy in front of it.

infinity serves a cross-encoder with random weights that is made here. Each server runs in an
environment of its own below `out/`, which is made at the first run and takes some 2 GB. Only the
CPU is used.
"""

import os
import socket
import subprocess
import time
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from support.real_runs import Ended, environment, groups, rerank

HOME = Path(__file__).parents[2] / "out" / "environments"
PACKAGES = {
    "infinity": ("torch==2.13.0", "infinity-emb[server,torch]==0.0.78", "transformers==4.57.6"),
    "litellm": ("litellm[proxy]==1.106.2",),
}
STARTS_WITHIN_S = 300.0
MASTER_KEY = "sk-master-of-the-proxy"

MAKE_MODEL = """
import sys
from pathlib import Path
import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

folder = Path(sys.argv[1])
letters = "abcdefghijklmnopqrstuvwxyz0123456789"
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + one for one in letters)]
folder.mkdir()
(folder / "vocab.txt").write_text("\\n".join(words))
tokenizer = BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=512)
tokenizer.save_pretrained(folder)
torch.manual_seed(7)
config = BertConfig(
    vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=64, num_labels=1, initializer_range=0.2,
)
BertForSequenceClassification(config).save_pretrained(folder)
"""

pytestmark = pytest.mark.timeout(1_800)


def installed(name: str) -> Path:
    """Return the folder of commands of a server's environment."""
    home = HOME / name
    if not (home / "complete").exists():
        venv.create(home, with_pip=True, clear=True)
        install = (str(home / "bin" / "python"), "-m", "pip", "install", "--quiet")
        subprocess.run((*install, *PACKAGES[name]), check=True, timeout=1_500)
        (home / "complete").touch()
    return home / "bin"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(command: list[str], health: str, log: Path) -> Iterator[None]:
    """Run a server while the body runs."""
    offline = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    variables = os.environ | offline | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            ["nice", "-n", "15", *command], stdout=output, stderr=output, env=variables
        ) as server,
    ):
        try:
            deadline = time.monotonic() + STARTS_WITHIN_S
            while not answers(health):
                assert server.poll() is None, log.read_text()[-2_000:]
                assert time.monotonic() < deadline, "the server did not start in time"
                time.sleep(0.5)
            yield
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def infinity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of infinity's endpoint."""
    folder, commands, port = tmp_path_factory.mktemp("infinity"), installed("infinity"), free_port()
    make = (str(commands / "python"), "-c", MAKE_MODEL, str(folder / "model"))
    subprocess.run(make, check=True, timeout=300)
    command = [
        *(str(commands / "infinity_emb"), "v2", "--model-id", str(folder / "model")),
        *("--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port)),
        *("--device", "cpu", "--engine", "torch", "--dtype", "float32"),
        *("--no-bettertransformer", "--no-model-warmup"),
    ]
    address = f"http://127.0.0.1:{port}"
    with started(command, f"{address}/health", folder / "log"):
        yield f"{address}/rerank"


@pytest.fixture(scope="module")
def litellm(infinity: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of the proxy's endpoint; it serves infinity's model as `behind`."""
    folder, commands, port = tmp_path_factory.mktemp("litellm"), installed("litellm"), free_port()
    config = folder / "config.yaml"
    config.write_text(
        "model_list:\n"
        "  - model_name: behind\n"
        "    litellm_params:\n"
        f"      {{model: infinity/tiny, api_base: '{infinity}', api_key: none}}\n"
        f"general_settings: {{master_key: {MASTER_KEY}}}\n"
    )
    command = [str(commands / "litellm"), "--config", str(config), "--host", "127.0.0.1"]
    address = f"http://127.0.0.1:{port}"
    with started([*command, "--port", str(port)], f"{address}/health/readiness", folder / "log"):
        yield f"{address}/rerank"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = {(0, 0): None, (0, 1): " ", (1, 0): "a long text " * 300, (2, 1): "漢字 🏕️ \x07"}
    return groups([30, 12, 5], tmp_path_factory.mktemp("given") / "in.parquet", texts=texts)


def run(provider: str, url: str, model: str, given: Path, output: Path, *more: object) -> Ended:
    return rerank(
        *("run", given, output, "--provider", provider, "--url", url, "--model", model),
        *("--no-progress", "--json", "--max-in-flight", 4, *more),
        env=environment(LITELLM_API_KEY=MASTER_KEY),
    )


def scores(output: Path) -> pl.DataFrame:
    parts = pl.read_parquet(output / "part-*.parquet")
    return parts.select("query_id", "doc_id", "relevance_score").sort("query_id", "doc_id")


def test_infinity_scores_every_candidate(infinity: str, given: Path, tmp_path: Path) -> None:
    ended = run("infinity", infinity, "tiny", given, tmp_path / "out")
    again = run("infinity", infinity, "tiny", given, tmp_path / "out")

    assert (ended.code, again.code) == (0, 0), ended.err
    assert (ended.facts["requests"], again.facts["requests_sent"]) == (3, 0)
    assert (ended.facts["skipped"], ended.facts["rejected"]) == (2, 0)
    assert ended.facts["total_tokens"] > 0
    found = scores(tmp_path / "out")["relevance_score"]
    assert found.null_count() == 2
    assert found.drop_nulls().is_between(0, 1).all()


def test_requests_to_infinity_compare(infinity: str, given: Path, tmp_path: Path) -> None:
    whole = run("infinity", infinity, "tiny", given, tmp_path / "whole")
    split = run("infinity", infinity, "tiny", given, tmp_path / "split", "--max-documents", 16)

    assert (whole.code, split.code) == (0, 0), split.err
    assert split.facts["merge_status"] == {"comparable": 1, "single_request": 2}
    one, other = scores(tmp_path / "whole"), scores(tmp_path / "split")
    difference = (one["relevance_score"] - other["relevance_score"]).abs().max()
    assert difference is not None
    assert float(str(difference)) < 1e-5


def test_infinity_refuses_more_documents_than_it_takes(infinity: str, tmp_path: Path) -> None:
    given = groups([2_100], tmp_path / "in.parquet")

    ended = run("infinity", infinity, "tiny", given, tmp_path / "out", "--max-documents", 2_100)

    assert ended.code == 0, ended.err
    assert ended.facts["requests"] >= 2
    assert ended.facts["rejected"] == 0


def test_the_doctor_finds_infinity_well(infinity: str) -> None:
    ended = rerank("doctor", "--provider", "infinity", "--url", infinity, "--model", "tiny")

    assert ended.code == 0, ended.out + ended.err
    assert "fail" not in ended.out


def test_litellm_scores_as_the_server_behind_it(
    infinity: str, litellm: str, given: Path, tmp_path: Path
) -> None:
    direct = run("infinity", infinity, "tiny", given, tmp_path / "direct")
    ended = run("litellm", litellm, "behind", given, tmp_path / "out")

    assert (direct.code, ended.code) == (0, 0), ended.err
    assert ended.facts["total_tokens"] == direct.facts["total_tokens"]
    one, other = scores(tmp_path / "direct"), scores(tmp_path / "out")
    difference = (one["relevance_score"] - other["relevance_score"]).abs().max()
    assert difference is not None
    assert float(str(difference)) < 1e-5


@pytest.mark.parametrize(
    ("model", "key", "found"),
    [("behind", "sk-wrong", "check the key"), ("no-such-model", MASTER_KEY, "no-such-model")],
)
def test_litellm_refuses_for_good(
    model: str, key: str, found: str, litellm: str, given: Path, tmp_path: Path
) -> None:
    ended = rerank(
        *("run", given, tmp_path / "out", "--provider", "litellm", "--url", litellm),
        *("--model", model, "--no-progress"),
        env=environment(LITELLM_API_KEY=key),
    )

    assert ended.code == 4
    assert found in ended.failure
    assert key not in ended.err
