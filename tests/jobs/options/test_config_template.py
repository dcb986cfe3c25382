"""`rerank init`: the file that it writes sets nothing, and each of its lines works."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import polars as pl
import pytest
from support.real_runs import SAMPLE, rerank_here

from jobs.cli import cli
from jobs.commands.init import init
from jobs.commands.run import run
from jobs.options.config_file import options_by_name
from jobs.options.config_template import config_template
from jobs.options.settings import run_options
from pipeline.api.options import RunOptions

TEMPLATE = config_template(run)
SETTING = re.compile(r"^#(?=[a-z])", re.MULTILINE)
LINES = [line for line in TEMPLATE.splitlines() if SETTING.match(line)]


def name_of(line: str) -> str:
    return line[1:].partition(" ")[0]


def parsed() -> dict[str, Any]:
    """Return the parameters of a run in the working folder."""
    root = click.Context(cli)
    command = cli.get_command(root, "run")
    assert command is not None
    with command.make_context("run", ["in", "out"], parent=root) as context:
        return context.params


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield the working folder, which holds what the examples name."""
    path = tmp_path_factory.mktemp("init")
    sample = pl.read_parquet(SAMPLE / "candidates.parquet").filter(
        pl.col("text").str.len_chars() > 0
    )
    sample.rename({"text": "passage"}).write_parquet(path / "in.parquet")
    texts = sample.select("doc_id", "text").unique("doc_id", keep="any")
    texts.write_ndjson(path / "corpus.jsonl")
    sample.select("query_id", "query").unique().write_ndjson(path / "queries.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        yield path


def test_the_file_sets_nothing() -> None:
    assert tomllib.loads(TEMPLATE) == {}


def test_it_shows_every_option_once() -> None:
    assert sorted(map(name_of, LINES)) == sorted(options_by_name(run))


def test_all_lines_together_are_options_with_their_defaults_or_with_examples(folder: Path) -> None:
    before = run_options(parsed())
    (folder / "rerank.toml").write_text(SETTING.sub("", TEMPLATE))

    after = run_options(parsed())

    assert before == RunOptions()
    for name in RunOptions.__struct_fields__:
        default = getattr(before, name)
        if default not in (None, {}):
            assert getattr(after, name) == default
        else:
            assert getattr(after, name) not in (None, {}), name


@pytest.mark.parametrize("line", LINES, ids=name_of)
def test_each_line_works(line: str, folder: Path) -> None:
    """`text` is in a column `passage` of the input, as in the example of `column`."""
    (folder / "rerank.toml").write_text(line[1:])
    needs_no_text = name_of(line) in ("column", "corpus")
    columns = () if needs_no_text else ("--column", "text=passage")
    model = ("--model", "qwen3-vl-rerank") if name_of(line) == "fps" else ()

    parsed()
    ended = rerank_here("plan", "in.parquet", *columns, *model)

    assert ended.code == 0, ended.err


def test_init_writes_the_file_and_does_not_replace_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    first, second = rerank_here("init"), rerank_here("init")
    (tmp_path / "rerank.toml").unlink()
    elsewhere = rerank_here("init", "none/night.toml")

    assert first.code == 0
    assert first.out == (
        "rerank.toml written: every option of `rerank run`, as a comment with its default\n"
    )
    assert second.code == elsewhere.code == 2
    assert second.failure == (
        "rerank: error: rerank.toml: exists already; name another FILE, or remove it first"
    )
    assert elsewhere.failure == (
        "rerank: error: none/night.toml: cannot be written: No such file or directory"
    )


def test_init_leaves_nothing_behind_if_it_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> str:
        raise SystemExit

    monkeypatch.setattr("jobs.commands.init.config_template", interrupted)
    with pytest.raises(SystemExit):
        init.main([str(tmp_path / "night.toml")], standalone_mode=False)

    assert list(tmp_path.iterdir()) == []


def test_init_writes_what_the_options_are(tmp_path: Path) -> None:
    file = tmp_path / "night.toml"

    assert rerank_here("init", file).code == 0

    assert file.read_text() == TEMPLATE
