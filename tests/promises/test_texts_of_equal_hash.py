"""Texts that were made to have equal hashes are never taken for each other."""

from pathlib import Path

import pytest
from support.equal_hashes import twins
from support.real_runs import Ended, Service, groups, ranked, rerank_here

SIZE = 30
ONE, OTHER = twins("of the river bank")


def run(given: Path, output: Path, store: Path, asked: Service, *more: object) -> Ended:
    options = (*asked.options, "--score-store", store, "--no-progress", "--json", *more)
    ended = rerank_here("run", given, output, *options)
    assert ended.code == 0, ended.err
    return ended


def scores(output: Path) -> dict[str, float]:
    return {row["doc_id"]: row["relevance_score"] for row in ranked(output)}


@pytest.mark.parametrize("reuse", ["exact", "partial"])
def test_each_gets_its_own_score_in_one_run_and_in_the_next(
    tmp_path: Path, quick_service: Service, reuse: str
) -> None:
    store, option = tmp_path / "scores", ("--reuse", reuse)
    nights = [
        groups([SIZE], tmp_path / f"{number}.parquet", texts=texts)
        for number, texts in enumerate(
            ({(0, 3): ONE}, {(0, 3): OTHER}, {(0, 3): ONE, (0, 4): OTHER})
        )
    ]
    found, apart = [], []
    for number, night in enumerate(nights):
        facts = run(night, tmp_path / f"out-{number}", store, quick_service, *option).facts
        assert facts["requests"] == 1
        found.append(scores(tmp_path / f"out-{number}"))
        run(night, tmp_path / f"alone-{number}", tmp_path / f"scores-{number}", quick_service)
        apart.append(scores(tmp_path / f"alone-{number}"))

    assert found == apart
    assert found[2]["d0-3"] == found[0]["d0-3"] != found[1]["d0-3"] == found[2]["d0-4"]
