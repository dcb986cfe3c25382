"""The README alone leads from a clone to own data reranked within five minutes, and to reading it.

Its commands and snippets run as they stand, in a copy of the repository and a fresh environment.
"""

import shutil
import subprocess
import time
from pathlib import Path

import polars as pl
import pytest
from support.markdown import blocks, read_page, section
from support.real_runs import ROOT, environment

README = read_page("README.md")
READERS = ("pandas==3.1.1", "duckdb==2.0.1")
"""What the snippets need and the job does not; neither may be in the environment of the tests."""
WITHIN_S = 300.0

pytestmark = pytest.mark.timeout(600)


class Clone:
    """A copy of what is in git, and the shell of somebody who follows the README in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
        )
        for name in filter(None, names.stdout.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)

    def shell(self, script: str, **variables: str) -> str:
        """Run lines in bash, each of which must succeed; return what they print."""
        env = environment(**variables)
        env.pop("PYTHONPATH", None)
        ended = subprocess.run(
            ["bash", "-euc", script], cwd=self.folder, env=env, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr[-2_000:]
        return ended.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Follow "Install and try" and "Your own data" of the README."""
    began = time.monotonic()
    clone = Clone(tmp_path_factory.mktemp("clone"))
    install = blocks(section(README, "Install and try"), "")[1]
    printed = clone.shell(install)
    assert "nDCG@10  0.5900  0.7644" in printed

    own = pl.read_parquet(ROOT / "sample_data" / "candidates.parquet").head(300)
    own.select("query_id", "query", "doc_id", "text").write_parquet(
        clone.folder / "candidates.parquet"
    )
    commands = blocks(section(README, "Your own data"), "")[0]
    # A key is all that a newcomer would have besides.
    offline = {"RERANK_RUN_PROVIDER": "emulator", "RERANK_PLAN_PROVIDER": "emulator"}
    clone.shell(f". .venv/bin/activate\n{commands}", **offline)
    assert time.monotonic() - began < WITHIN_S
    return clone


def test_own_data_are_reranked(clone: Clone) -> None:
    ranked = pl.read_parquet(clone.folder / "reranked" / "*.parquet")

    assert ranked.height == 300
    assert (clone.folder / "reranked" / "_SUCCESS").exists()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_result_is_read_as_shown(place: int, clone: Clone, readers: Path) -> None:
    snippet = blocks(section(README, "Read the result"), "python")[place]
    count = "\nprint(len(globals().get('ranked', globals().get('top'))))"

    printed = clone.shell(f'{readers} -c "$SNIPPET"', SNIPPET=snippet + count)

    ranked = pl.read_parquet(clone.folder / "reranked" / "*.parquet")
    assert int(printed) in (ranked.height, ranked.filter(pl.col("rank") <= 10).height)


@pytest.fixture(scope="module")
def readers(clone: Clone) -> Path:
    """Return an interpreter with pandas and DuckDB: the job's environment, which they join."""
    clone.shell(f".venv/bin/pip install --quiet {' '.join(READERS)}")
    return clone.folder / ".venv" / "bin" / "python"
