"""README.md is true: its commands and snippets run as they are, and print what it shows."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import polars as pl
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
    assert [line for line in shown if line and not line.startswith(depends_on_the_machine)] == [
        line for line in printed if not line.startswith((*depends_on_the_machine, "best", "worst"))
    ]


@pytest.fixture(scope="module")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a user's folder, the working folder meanwhile: candidates by id, queries, corpus."""
    folder = tmp_path_factory.mktemp("own_data")
    candidates = pl.read_parquet(SAMPLE / "candidates.parquet")
    kept = ("query_id", "doc_id", "first_stage_rank")
    candidates.select(kept).sample(fraction=1, shuffle=True, seed=1).write_parquet(
        folder / "candidates.parquet"
    )
    (folder / "queries.jsonl").write_bytes((SAMPLE / "queries.jsonl").read_bytes())
    (folder / "corpus.jsonl").write_bytes((SAMPLE / "documents.jsonl").read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def run_snippet(heading: str, place: int = 0) -> dict[str, object]:
    """Run a Python block of a section in the present folder; return its variables."""
    variables: dict[str, object] = {}
    exec(blocks(section(README, heading), "python")[place], variables)
    return variables


def test_your_own_data_a_try_and_the_whole_run_work_as_shown(own_data: Path) -> None:
    run_snippet("Your own data")
    run_snippet("The real service")
    commands = [
        line
        for block in blocks(section(README, "The real service"), "")
        for line in block.splitlines()
        if line.startswith("rerank run")
    ]
    summaries = [
        rerank_here(*shlex.split(command)[1:], "--provider", "emulator", "--json").facts
        for command in commands
    ]

    tried, whole = summaries
    assert (tried["state"], tried["requests"]) == ("done", 20)
    assert (whole["state"], whole["requests_reused"], whole["requests"]) == ("done", 20, 31)
    assert whole["candidates"] == 3_261


READERS = {"polars": 0, "duckdb": 1, "pandas": 2}


@pytest.mark.parametrize("reader", READERS)
def test_a_result_is_read_as_shown(reader: str, own_data: Path) -> None:
    if importlib.util.find_spec(reader) is None:
        pytest.skip(f"{reader} is not installed")
    if not (own_data / "reranked").exists():
        source = (SAMPLE / "candidates.parquet", "reranked")
        assert rerank_here("run", *source, "--provider", "emulator").code == 0

    variables = run_snippet("Read the result", READERS[reader])

    lengths = {name: len(value) for name, value in variables.items() if hasattr(value, "__len__")}
    expected = {"ranked": 3_261, "top": 510, "costs": 51}
    assert {name: lengths[name] for name in expected if name in lengths}
    for name, length in expected.items():
        assert lengths.get(name, length) == length


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < LONGEST_README
