"""The bars of merging through the real command: `rerank run` in a process, an emulator in another.

A few queries for each kind of service, in 3 to 7 requests each; `benchmarks/bench_merging_cli.py`
measures the same at full size. Bars on ranks are those of the full size. Bars on cost are adapted:
the groups are smaller, so a final request weighs more, and property P11 bounds it; and of five
queries one may raise a false alarm, or need the wider final request that one in ten may need.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.bench_merging import verdict
from benchmarks.bench_merging_cli import CASES, DEPTH, Case, simulate

QUERIES = 5
ONE_QUERY = 1 / QUERIES
FIVE_REQUESTS, SEVEN_REQUESTS, THREE_REQUESTS = (1_000, 250), (900, 150), (700, 250)
"""Candidates of a query, and documents of a request."""
RANK_MARGIN, SPARE = 1.4, 5
ANCHORS = 8


def smaller(case: Case, num_documents: int, max_documents: int) -> Case:
    """Return the case at a size that a test can afford."""
    num_requests = -(-num_documents // (max_documents - ANCHORS))
    anchors = ANCHORS * (num_requests - 1) / num_documents
    # P11: M + C documents, half as many again since homes are filled up and good documents long
    final = 1.5 * (RANK_MARGIN * DEPTH + SPARE + num_requests) / num_documents
    finals = {"none": ONE_QUERY if case.noise else 0, "affine": 1, "softmax": 1, "zscore": 1}
    most_finals = finals.get(case.distortion, 1 + ONE_QUERY)
    bars = case.bars | {
        "extra_tokens": (0, anchors + final * most_finals),
        "extra_requests": (0, most_finals),
    }
    if case.distortion == "none":
        bars["comparable"] = (1 - finals["none"], 1)
    has_control = case.name in ("affine", "monotone")
    return replace(
        case,
        bars=bars,
        num_documents=num_documents,
        max_documents=max_documents,
        controls_fail=case.controls_fail if has_control else (),
    )


def sizes() -> list[Case]:
    """Noisy services with five requests a query; the others with seven and three by turns."""
    exact = [case for case in CASES if not case.noise]
    return [
        *(smaller(case, *FIVE_REQUESTS) for case in CASES if case.noise),
        *(smaller(case, *SEVEN_REQUESTS) for case in exact[::2]),
        *(smaller(case, *THREE_REQUESTS) for case in exact[1::2]),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("merging")


@pytest.mark.parametrize("case", sizes(), ids=lambda case: case.name.replace(" ", "-"))
def test_merging_reaches_the_bars_and_trusting_scores_does_not(case: Case, folder: Path) -> None:
    means, statuses = simulate(case, QUERIES, folder)

    assert verdict(case, means) == [], (means, statuses)  # type: ignore[arg-type]


def test_the_certified_depth_is_right_if_the_final_request_is_too_small(folder: Path) -> None:
    """Hardly more documents fit a request than shall be settled: nothing is left for a margin."""
    case = Case("tight", {}, "monotone", num_documents=600, max_documents=DEPTH + 10)

    means, statuses = simulate(case, QUERIES, folder)

    assert means["merge"]["dishonest"] == 0
    assert means["merge"]["certified"] < 1
    assert set(statuses) == {"linked_rank"}
