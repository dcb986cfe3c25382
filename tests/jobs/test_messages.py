"""Messages to users: what, which, found, expected and the cure, in one line of plain words."""

from pathlib import Path

import click
import polars as pl
import pytest
from support.real_runs import SAMPLE, rerank_here, service

from jobs.cli import COMMANDS, cli
from jobs.options.types import Count, Number, OneOf

CANDIDATES = SAMPLE / "candidates.parquet"
NO_SERVICE = ("--provider", "emulator", "--url", "http://127.0.0.1:9/")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return inputs with one thing wrong each, and an output that is not finished, in a folder."""
    folder = tmp_path_factory.mktemp("files")
    sample = pl.read_parquet(CANDIDATES).head(200)
    sample.rename({"text": "passage"}).write_parquet(folder / "renamed.parquet")
    sample.select("query_id", "doc_id").write_parquet(folder / "ids.parquet")
    sample.write_csv(folder / "csv.parquet")
    (folder / "excel.xlsx").write_bytes(b"PK\x03\x04" + bytes(96))
    sample.head(60).write_parquet(folder / "good.parquet")
    with service("--fault", "arrearage") as broke:
        rerank_here("run", folder / "good.parquet", folder / "unfinished", *broke.options)
        rerank_here("run", folder / "good.parquet", folder / "done", "--provider", "emulator")
    return folder


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["run", "a", "b", "--max-cost", "$20"],
            2,
            "--max-cost: not a number (found $20, expected US dollars above 0, such as 20 or 0.5);"
            " see rerank run --help",
        ),
        (
            ["run", "a", "b", "--max-outage", "10min"],
            2,
            "--max-outage: not a number (found 10min, expected minutes above 0, such as 10 or"
            " 0.5); see rerank run --help",
        ),
        (
            ["plan", "a", "--limit", "1,000"],
            2,
            "--limit: not a whole number (found 1,000, expected 1 or more); write it 1000; see"
            " rerank plan --help",
        ),
        (
            ["run", "a", "b", "--max-csot", "20"],
            2,
            "No such option '--max-csot'. (Did you mean one of: '--max-cost', '--max-outage',"
            " '--max-rejects'?); see rerank run --help",
        ),
        (["stauts", "b"], 2, "No such command 'stauts'. Did you mean 'status'?; see rerank --help"),
        (
            ["run", "a", "b", "--max-cost"],
            2,
            "Option '--max-cost' requires an argument; see rerank run --help",
        ),
        (
            ["emulate", "--fault", "503=5"],
            2,
            "--fault: unknown fault (found 503=5, expected NAME, NAME=RATE (0 to 1) or NAME@K",
        ),
        (
            ["run", "renamed.parquet", "out", *NO_SERVICE, "--column", "passage=text"],
            2,
            "--column: unknown column (found passage, expected query_id, query, doc_id, text,"
            " first_stage_rank, first_stage_score",
        ),
        (
            ["run", "renamed.parquet", "out", *NO_SERVICE, "--column", "passage=text"],
            2,
            "; write it the other way round: --column text=passage",
        ),
        (
            ["run", "csv.parquet", "out", *NO_SERVICE],
            3,
            "bytes of text); if it is CSV or JSON lines, name it .csv, .tsv or .jsonl: the suffix",
        ),
        (
            ["run", "excel.xlsx", "out", *NO_SERVICE],
            3,
            "excel.xlsx: not a Parquet file, or a damaged one (found 100 bytes of a ZIP file or an"
            " Excel workbook); ",
        ),
        (
            ["run", "ids.parquet", "out", *NO_SERVICE],
            3,
            "ids.parquet: missing columns ['query', 'text'] (found ['query_id', 'doc_id'],"
            " expected a row per candidate: query_id, query, doc_id, text); ids without their"
            " texts are joined with --queries FILE --corpus FILE",
        ),
        (
            ["evaluate", "unfinished", "--qrels", str(SAMPLE / "qrels.parquet")],
            3,
            "unfinished: holds no part that can be read; wait for its first part; rerank status"
            " tells how far it is",
        ),
        (
            ["export", "unfinished", "x.trec"],
            3,
            "unfinished: not finished: _SUCCESS or a part is missing; run the same command again"
            " to finish it, or take what is there with --partial",
        ),
        (
            ["run", "good.parquet", "done", *NO_SERVICE, "--top-n", "5"],
            5,
            "done: made with other settings or input: certify_depth: auto there, 5 now; top_n:"
            " none there, 5 now; --restart begins anew and keeps the paid answers; another OUTPUT"
            " reuses them with --score-store done/_scores",
        ),
        (
            ["run", "good.parquet", "out", *NO_SERVICE, "--max-outage", "0.005"],
            8,
            " (found 127.0.0.1:9: connection refused); check --url and the network, or run the"
            " same command again later; --max-outage sets how long to wait",
        ),
        (
            ["status", str(SAMPLE)],
            3,
            "not an output of `rerank run`: it has no _manifest.json; name the OUTPUT of a run",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(
    arguments: list[str],
    code: int,
    message: str,
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(files)

    ended = rerank_here(*arguments)

    assert ended.code == code
    assert message in ended.failure


def options_with_values() -> list[tuple[str, str]]:
    """Return command and option for each option that takes a number or one of a few words."""
    context = click.Context(cli)
    found = []
    for name in COMMANDS:
        command = cli.get_command(context, name)
        leaves = command.commands.items() if isinstance(command, click.Group) else ()
        for path, leaf in [(f"{name} {sub}", leaf) for sub, leaf in leaves] or [(name, command)]:
            assert leaf is not None
            for option in leaf.params:
                if isinstance(option, click.Option) and isinstance(
                    option.type, Number | Count | OneOf | click.IntRange | click.FloatRange
                ):
                    found.append((path, max(option.opts, key=len)))
    return found


@pytest.mark.parametrize(("command", "option"), options_with_values())
def test_every_option_refuses_nonsense_in_the_same_words(command: str, option: str) -> None:
    ended = rerank_here(*command.split(), option, "$20")

    assert ended.code == 2
    assert ended.failure.startswith(f"rerank: error: {option}: ")
    assert "(found $20, expected " in ended.failure
    assert ended.failure.endswith(f"see rerank {command} --help")
