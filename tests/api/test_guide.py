"""The examples of the library's guide run as they stand."""

import ast
import asyncio
import inspect
import shutil
from pathlib import Path
from types import FunctionType

import polars as pl
import pytest
from support.markdown import blocks, read_page, section

import pipeline

ROOT = Path(__file__).parents[2]
EXAMPLES = blocks(section(read_page("pipeline/README.md"), "From Python"), "python")


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "sample_data" / "candidates.parquet", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = compile(example, "guide", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names = {"pipeline": pipeline, "pl": pl}

    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(FunctionType(code, names)())
    else:
        exec(code, names)

    if "summary" in names:
        assert names["summary"].state == "done"  # type: ignore[attr-defined]
    else:
        assert names["both"].height == pl.read_parquet("candidates.parquet").height  # type: ignore[attr-defined]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 2
