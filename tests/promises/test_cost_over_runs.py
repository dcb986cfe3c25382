"""`--max-cost` holds for an output over all its runs, killed ones too, as the service counts."""

import json
import time
from pathlib import Path

import pytest
from support.real_runs import groups, killed, rerank, rerank_here, service, start

from pipeline.core.models import PROFILES

NUM_GROUPS, NUM_KILLS = 300, 5
USD_PER_TOKEN = PROFILES["qwen3-rerank"].usd_per_token


def test_five_killed_runs_and_a_last_one_spend_no_more_than_the_limit(tmp_path: Path) -> None:
    texts = {
        (group, place): f"a tent by the river {group} {place} " * 30
        for group in range(NUM_GROUPS)
        for place in range(10)
    }
    given, output = (
        groups([10] * NUM_GROUPS, tmp_path / "in.parquet", texts=texts),
        tmp_path / "out",
    )
    with service() as whole:
        done = rerank_here("run", given, tmp_path / "whole", *whole.options, "--json")
        limit_usd = 0.7 * done.facts["cost_usd"]
    with service("--latency-ms", 10) as asked:

        def paid_usd() -> float:
            return asked.stats()["total_tokens"] * USD_PER_TOKEN

        limited = ("run", given, output, *asked.options, "--no-progress", "--json")
        limited += ("--max-in-flight", 2, "--max-cost", f"{limit_usd:.9f}")
        for kill in range(NUM_KILLS):
            enough = asked.answers() + 8 + 5 * kill
            process = start(*limited)
            while asked.answers() < enough and process.poll() is None:
                time.sleep(0.002)
            if process.poll() is None:
                killed(process)
        last = rerank(*limited)
        after = paid_usd()
        again = rerank(*limited)

        assert (last.code, again.code) == (9, 9), last.err
        assert "spent in all runs" in last.failure
        assert 0.4 * limit_usd <= after <= limit_usd
        assert paid_usd() == after, "nothing is left to spend"
        status = json.loads(rerank_here("status", output, "--json").out)
        assert after <= status["all_runs_usd"] <= limit_usd + 1e-9
        assert status["last_run_usd"] == 0
        more = rerank(*limited[:-1], "1")
        assert more.code == 0, more.err
        assert more.facts["cost_usd"] < more.facts["all_runs_usd"]
        assert more.facts["all_runs_usd"] >= paid_usd()


@pytest.mark.parametrize("more", [(), ("--restart",)], ids=["again", "--restart"])
def test_a_finished_run_counts_for_the_next(tmp_path: Path, more: tuple[str, ...]) -> None:
    first = groups([10] * 5, tmp_path / "first.parquet")
    with service() as asked:
        options = (*asked.options, "--no-progress", "--json", "--score-store", tmp_path / "s")
        done = rerank_here("run", first, tmp_path / "out", *options, "--max-cost", 1)
        spent = done.facts["cost_usd"]

        again = rerank_here("run", first, tmp_path / "out", *options, "--max-cost", 1, *more)

    assert (again.facts["cost_usd"], again.facts["all_runs_usd"]) == (0, pytest.approx(spent))
    assert rerank_here("status", tmp_path / "out").out.count("all runs") == 1
