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


def write_forms(folder: Path) -> None:
    """Write the sample's candidates in the forms of the README."""
    long = pl.read_parquet(SAMPLE / "candidates.parquet")
    queries = pl.read_ndjson(SAMPLE / "queries.jsonl").select("query_id", "query")
    corpus = pl.read_ndjson(SAMPLE / "documents.jsonl").with_columns(title=pl.lit("a title"))
    by_id = long.select("query_id", "doc_id", "first_stage_rank", "first_stage_score")
    long.write_parquet(folder / "candidates.parquet")
    names = pl.struct("doc_id", "text", "first_stage_rank")
    nested = long.group_by("query_id", maintain_order=True)
    nested.agg(pl.first("query"), names.alias("documents")).write_parquet(folder / "nested.parquet")
    by_id.write_parquet(folder / "ids.parquet")
    corpus.write_parquet(folder / "corpus.parquet")
    queries.write_parquet(folder / "queries.parquet")
    corpus.rename({"doc_id": "_id"}).write_ndjson(folder / "docs.jsonl")
    beir = queries.rename({"query_id": "_id", "query": "text"})
    beir.write_ndjson(folder / "queries.jsonl")
    with (folder / "bm25.run").open("w", encoding="utf-8") as run_file:
        for query_id, doc_id, rank, score in by_id.iter_rows():
            run_file.write(f"{query_id} Q0 {doc_id} {rank} {score!r} bm25\n")


def commands_of(heading: str) -> list[list[str]]:
    """Return the commands of a section, those of `run` with the offline service."""
    code = "".join(blocks(section(README, heading), ""))
    found = [shlex.split(line, comments=True)[1:] for line in code.splitlines()]
    offline = ["--provider", "emulator", "--json"]
    commands = [words for words in found if words and words[0] in ("run", "plan", "prepare")]
    return [words + offline if words[0] == "run" else words for words in commands]


@pytest.fixture(scope="module")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[Any]]]:
    """Do with the sample what "Your own data" does, in a folder that is then the working folder.

    Yield the order of the candidates of each run, by its input.
    """
    folder = tmp_path_factory.mktemp("own_data")
    write_forms(folder)
    orders = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in commands_of("Your own data"):
            ended = rerank_here(*words)
            assert ended.code == 0, ended.err
            if words[0] == "run":
                names = ["query_id", "doc_id", "rank", "relevance_score"]
                parts = str(Path(words[2]) / "*.parquet")
                orders[words[1]] = pl.read_parquet(parts, columns=names).rows()
                shutil.rmtree(words[2])
        yield orders


def test_own_data_give_the_same_order_in_each_form(own_data: dict[str, list[Any]]) -> None:
    first = own_data["candidates.parquet"]

    assert len(first) == 3_261
    assert own_data == dict.fromkeys(
        ("candidates.parquet", "nested.parquet", "ids.parquet", "long.parquet"), first
    )


def test_each_form_is_shown_in_three_lines() -> None:
    forms = blocks(section(README, "Your own data"), "")

    assert [len(form.splitlines()) for form in forms] == [3, 3, 3, 3]


@pytest.fixture(scope="module")
def summaries(own_data: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Do with own data what "The real service" does; return the summaries of its runs."""
    assert "long.parquet" in own_data
    ended = [rerank_here(*words) for words in commands_of("The real service")]
    return [run.facts for run in ended if run.out.startswith("{")]


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


@pytest.mark.usefixtures("summaries")
def test_polars_refuses_the_folder_alone() -> None:
    with pytest.raises(pl.exceptions.InvalidOperationError, match="different file extensions"):
        pl.read_parquet("reranked")


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < LONGEST_README
