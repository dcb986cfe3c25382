"""Two nightly runs of the real command: the second pays for new documents, even if killed."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support.real_runs import (
    Ended,
    Service,
    groups,
    killed,
    ranked,
    rerank_here,
    results,
    rows_of,
    service,
    start,
    wait_until,
)

SIZES = [60] * 12
NEW = {
    (group, place): f"a new tent {group} {place}" for group in range(11) for place in (2, 31, 50)
}


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Write the candidates of two nights; the last group is the same in both."""
    folder = tmp_path_factory.mktemp("nights")
    return groups(SIZES, folder / "first.parquet"), groups(
        SIZES, folder / "second.parquet", texts=NEW
    )


@pytest.fixture(scope="module")
def slow_service() -> Iterator[Service]:
    with service("--latency-ms", 50, "--score-distortion", "affine") as running:
        yield running


def run(
    given: Path, output: Path, store: Path, asked: Service, *more: object
) -> tuple[object, ...]:
    return (
        *("run", given, output, *asked.options, "--score-store", store),
        *("--no-progress", "--requests-per-minute", 1_000_000, *more),
    )


def done(ended: Ended) -> Ended:
    assert ended.code == 0, ended.err
    return ended


def scores(output: Path) -> Mapping[tuple[str, str], float]:
    return {(row["query_id"], row["doc_id"]): row["relevance_score"] for row in ranked(output)}


def test_the_second_run_pays_for_new_documents_and_anchors_only(
    nights: tuple[Path, Path], tmp_path: Path, quick_service: Service
) -> None:
    first, second = nights
    store, partial = tmp_path / "store", ("--reuse", "partial", "--json")
    whole = done(rerank_here(*run(second, tmp_path / "whole", tmp_path / "other", quick_service)))
    before = done(rerank_here(*run(first, tmp_path / "1", store, quick_service, *partial))).facts

    after = done(rerank_here(*run(second, tmp_path / "2", store, quick_service, *partial))).facts

    assert whole.code == 0
    assert (before["requests"], before["partial_groups"], before["saved_usd"]) == (12, 0, 0)
    assert (after["requests"], after["partial_groups"]) == (11, 11)
    assert after["documents_reused"] == 11 * 57
    assert after["total_tokens"] < before["total_tokens"] / 4
    # The twelfth group is the same request as before, which exact reuse serves as well.
    assert after["cost_usd"] + after["saved_usd"] == pytest.approx(
        before["cost_usd"] * 11 / 12, rel=0.05
    )
    assert after["merge_status"] == {"comparable": 11, "single_request": 1}
    assert [row["num_requests"] for row in rows_of(tmp_path / "2" / "_groups")] == [2] * 11 + [1]
    assert scores(tmp_path / "2") == scores(tmp_path / "whole")


def test_the_report_shows_partial_reuse_and_savings(
    nights: tuple[Path, Path], tmp_path: Path, quick_service: Service
) -> None:
    first, second = nights
    store, partial = tmp_path / "store", ("--reuse", "partial")
    done(rerank_here(*run(first, tmp_path / "1", store, quick_service, *partial)))

    options = run(second, tmp_path / "2", store, quick_service, *partial)
    ended = done(rerank_here(*options))

    (line,) = [line for line in ended.out.splitlines() if line.startswith("reused in part")]
    assert "627 scores of 11 queries, saved about $0.00" in line


def test_exact_reuse_sends_changed_groups_whole(
    nights: tuple[Path, Path], tmp_path: Path, quick_service: Service
) -> None:
    first, second = nights
    done(rerank_here(*run(first, tmp_path / "1", tmp_path / "store", quick_service)))

    options = run(second, tmp_path / "2", tmp_path / "store", quick_service, "--json")
    facts = done(rerank_here(*options)).facts

    assert (facts["requests"], facts["requests_reused"]) == (11, 1)
    assert (facts["partial_groups"], facts["saved_usd"]) == (0, 0)


def test_answers_of_a_run_without_partial_reuse_serve_equal_requests_alone(
    nights: tuple[Path, Path], tmp_path: Path, quick_service: Service
) -> None:
    first, second = nights
    partial = ("--reuse", "partial", "--json")
    done(rerank_here(*run(first, tmp_path / "1", tmp_path / "store", quick_service)))

    options = run(second, tmp_path / "2", tmp_path / "store", quick_service, *partial)
    facts = done(rerank_here(*options)).facts

    assert (facts["requests"], facts["requests_reused"], facts["partial_groups"]) == (11, 1, 0)


def test_an_output_of_exact_reuse_is_not_continued_by_partial(
    nights: tuple[Path, Path], tmp_path: Path, quick_service: Service
) -> None:
    given = run(nights[0], tmp_path / "out", tmp_path / "store", quick_service)
    done(rerank_here(*given))

    refused = rerank_here(*given, "--reuse", "partial")

    assert refused.code == 5
    assert "reuse: exact there, partial now" in refused.failure


def test_a_second_run_and_a_restart_send_nothing(
    nights: tuple[Path, Path], tmp_path: Path, quick_service: Service
) -> None:
    first, second = nights
    store, partial = tmp_path / "store", ("--reuse", "partial", "--json")
    done(rerank_here(*run(first, tmp_path / "1", store, quick_service, *partial)))
    again = run(second, tmp_path / "2", store, quick_service, *partial)
    done(rerank_here(*again))
    before = results(tmp_path / "2")

    repeated = done(rerank_here(*again)).facts
    anew = done(rerank_here(*again, "--restart")).facts

    assert repeated["requests"] == anew["requests"] == 0
    assert results(tmp_path / "2") == before


def test_a_partial_run_killed_after_k_answers_gives_the_same_bytes(
    nights: tuple[Path, Path], tmp_path: Path, slow_service: Service
) -> None:
    """The requests are not comparable, so final requests and whole groups follow."""
    first, second = nights
    partial = ("--reuse", "partial", "--max-in-flight", 4, "--certify-depth", 5)
    partial += ("--groups-per-part", 4)
    done(rerank_here(*run(first, tmp_path / "1", tmp_path / "store", slow_service, *partial)))
    shutil.copytree(tmp_path / "store", tmp_path / "whole-store")
    began = slow_service.answers()
    done(
        rerank_here(
            *run(second, tmp_path / "whole", tmp_path / "whole-store", slow_service, *partial)
        )
    )
    needed, expected = slow_service.answers() - began, results(tmp_path / "whole")
    assert needed > 11

    for kill in (1, needed // 3, 3 * needed // 4):
        store = shutil.copytree(tmp_path / "store", tmp_path / f"store-{kill}")
        options = run(second, tmp_path / f"out-{kill}", store, slow_service, *partial)
        began = slow_service.answers()
        process = start(*options)
        wait_until(
            lambda began=began, kill=kill: slow_service.answers() - began >= kill, poll_s=0.002
        )
        killed(process)

        done(rerank_here(*options))

        assert results(tmp_path / f"out-{kill}") == expected, f"kill {kill}"
        assert slow_service.answers() - began < needed + 11, "most of it is paid once"
