"""README.md is true: its commands and snippets run as they are, and print what it shows."""

import importlib.util
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from support.markdown import blocks, read_page, section
from support.real_runs import ROOT, SAMPLE, rerank, rerank_here

README = read_page("README.md")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
LONGEST_README = 200


def sample_commands() -> list[str]:
    """Return the commands on sample_data: those of all pages, and those of `make run`."""
    recipe = [line.strip().removeprefix("$(BIN)/") for line in MAKEFILE.splitlines()]
    pages = [read_page(page) for page in ("README.md", "jobs/README.md", "pipeline/README.md")]
    code = "".join(block for page in pages for block in blocks(page, ""))
    lines = code.replace("\\\n", "").splitlines()
    wanted = [
        line
        for line in (*lines, *recipe)
        if line.startswith("rerank ") and ("sample" in line or line.endswith("emulator"))
    ]
    return list(dict.fromkeys(wanted))


def test_the_commands_on_the_sample_run_as_they_stand(tmp_path: Path) -> None:
    commands = sample_commands()
    assert len(commands) >= 6

    for command in commands:
        words = shlex.split(command.replace("out/", f"{tmp_path}/"))[1:]
        ended = rerank(*words)

        assert ended.code == 0, f"{command}\n{ended.err}"


def test_make_run_is_what_the_readme_runs_without_make() -> None:
    without_make = blocks(section(README, "Install and try"), "")[1].splitlines()[1:]

    assert [f"\t$(BIN)/{line}" for line in without_make] == re.findall(
        r"^\t\$\(BIN\)/rerank .*$", MAKEFILE, re.MULTILINE
    )


def test_make_run_prints_what_the_readme_shows(tmp_path: Path) -> None:
    output = tmp_path / "sample"
    run = rerank_here("run", SAMPLE / "candidates.parquet", output, "--provider", "emulator")
    judged = rerank_here("evaluate", output, "--qrels", SAMPLE / "qrels.parquet")
    printed = (run.out + judged.out).replace(str(output), "out/sample").splitlines()

    shown = blocks(section(README, "Install and try"), "")[2].splitlines()

    depends_on_the_machine = ("took", "pace")
    expected, found = (
        [line for line in lines if line and not line.startswith(depends_on_the_machine)]
        for lines in (shown, printed)
    )
    assert found[: len(expected)] == expected
    assert found[len(expected)].startswith("improved in nDCG@10")


def run_snippet(heading: str, place: int = 0) -> dict[str, Any]:
    """Run a Python block of a section in the working folder; return its variables."""
    variables: dict[str, Any] = {}
    exec(blocks(section(README, heading), "python")[place], variables)
    return variables


@pytest.fixture(scope="module")
def summaries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, Any]]]:
    """Do with other data what the README does, in a folder that is the working folder meanwhile.

    Yield the summaries of its runs. The data are candidates by id, in any order, queries, corpus.
    """
    folder = tmp_path_factory.mktemp("own_data")
    candidates = pl.read_parquet(SAMPLE / "candidates.parquet")
    by_id = candidates.select("query_id", "doc_id", "first_stage_rank")
    by_id.sample(fraction=1, shuffle=True, seed=1).write_parquet(folder / "candidates.parquet")
    shutil.copy(SAMPLE / "queries.jsonl", folder / "queries.jsonl")
    shutil.copy(SAMPLE / "documents.jsonl", folder / "corpus.jsonl")
    code = "".join(blocks(section(README, "The real service"), ""))
    commands = re.findall(r"^rerank (run .*)$", code, re.MULTILINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_snippet("Your own data")
        run_snippet("The real service")
        yield [
            rerank_here(*shlex.split(command), "--provider", "emulator", "--json").facts
            for command in commands
        ]


def test_the_whole_run_reuses_what_the_try_has_paid_for(summaries: list[dict[str, Any]]) -> None:
    tried, whole = summaries

    assert (tried["state"], tried["requests"]) == ("done", 20)
    assert (whole["state"], whole["requests_reused"], whole["requests"]) == ("done", 20, 31)
    assert whole["candidates"] == 3_261


@pytest.mark.parametrize(
    ("place", "reader", "lengths"),
    [
        (0, "polars", {"ranked": 3_261, "top": 510, "costs": 51}),
        (1, "duckdb", {"top": 510}),
        (2, "pandas", {"ranked": 3_261}),
    ],
)
@pytest.mark.usefixtures("summaries")
def test_a_result_is_read_as_shown(place: int, reader: str, lengths: dict[str, int]) -> None:
    if importlib.util.find_spec(reader) is None:
        pytest.skip(f"{reader} is not installed")

    variables = run_snippet("Read the result", place)

    assert {name: len(variables[name]) for name in lengths} == lengths


@pytest.mark.usefixtures("summaries")
def test_readers_built_on_pyarrow_skip_what_is_not_a_part() -> None:
    """Such a reader is pandas, which is no extra here: pyarrow would import it in every run."""
    assert pq.read_table("reranked").num_rows == 3_261


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < LONGEST_README
