"""The commands on a score store: what they show, refuse and remove."""

import json
import os
import pty
from pathlib import Path

import pytest
from support.real_runs import Service, end, groups, rerank_here, start


@pytest.fixture
def output(tmp_path: Path, quick_service: Service) -> Path:
    """Return an output whose score store holds three answers."""
    given, folder = groups([2, 3, 2], tmp_path / "in.parquet"), tmp_path / "out"
    assert rerank_here("run", given, folder, *quick_service.options).code == 0
    return folder


def answers(output: Path) -> int:
    facts = json.loads(rerank_here("store", "info", output / "_scores", "--json").out)
    return int(facts["requests"])


def test_info_says_how_large_a_store_is_in_megabytes(output: Path) -> None:
    shown = rerank_here("store", "info", output / "_scores")

    assert "requests   3\n" in shown.out
    assert "size       0.0 MB\n" in shown.out


def test_a_dry_run_says_what_would_be_removed_and_removes_nothing(output: Path) -> None:
    shown = rerank_here("store", "prune", output / "_scores", "--unused-for", 0, "--dry-run")

    assert shown.out.startswith("would remove 3 answers, about 0.0 MB; 0 answers kept")
    assert answers(output) == 3


def test_recently_used_answers_are_kept(output: Path) -> None:
    facts = rerank_here("store", "prune", output / "_scores", "--unused-for", 1, "--json").facts

    assert (facts["removed"], facts["kept"], facts["dry_run"]) == (0, 3, False)
    assert answers(output) == 3


@pytest.mark.parametrize(("typed", "left"), [(b"n\n", 3), (b"y\n", 0)])
def test_on_a_terminal_it_asks_before_nothing_is_left(
    typed: bytes, left: int, output: Path
) -> None:
    terminal, stdin = pty.openpty()
    process = start("store", "prune", output / "_scores", "--unused-for", 0, stdin=stdin)
    os.close(stdin)
    os.write(terminal, typed)
    ended = end(process)
    os.close(terminal)

    assert "Remove all 3 answers? They would be paid for again." in ended.err
    assert ended.code == (130 if left else 0)
    assert answers(output) == left


@pytest.mark.parametrize("command", [("info",), ("prune", "--unused-for", "0")])
def test_an_output_is_not_taken_for_its_store(command: tuple[str, ...], output: Path) -> None:
    refused = rerank_here("store", command[0], output, *command[1:])

    assert refused.code == 3
    assert f"{output}: not a score store: it holds other files; name {output}/_scores" in (
        refused.failure
    )
    assert answers(output) == 3
