"""Partial reuse: new documents of a query are merged with those scored before."""

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau
from support.equal_hashes import twins
from support.group_world import (
    FakeService,
    make_group,
    make_planner,
    plan_like_a_run,
    relevance,
    tokens,
)
from xxhash import xxh3_64_intdigest

from pipeline.core.errors import ContentRefused, Interrupted, RerankError
from pipeline.core.groups import Group
from pipeline.core.records import Ranking, Request
from pipeline.core.stop import StopSwitch
from pipeline.dataset.cached_scorer import CachedScorer, SharedScores
from pipeline.planning.planner import Planner
from pipeline.planning.reuse import PartialReuse
from pipeline.ranking.refused_sizes import RefusedSizes
from pipeline.ranking.rerank_group import rerank_group
from pipeline.score_store.maintenance import info, prune
from pipeline.score_store.store import ScoreStore
from pipeline.service.metrics import Metrics
from pipeline.storage.location import locate

DAY_US = 24 * 3_600 * 1_000_000
FIRST, SECOND, THIRD = (1_000 * DAY_US, 1_001 * DAY_US, 1_002 * DAY_US)
ANCHORS = 8
Distort = Callable[[np.ndarray], np.ndarray]


async def night(
    folder: Path,
    groups: Sequence[Group],
    service: FakeService,
    begun_us: int,
    *,
    planner: Planner | None = None,
    reuse: bool = True,
    clock_us: int | None = None,
) -> list[Ranking]:
    """Rank groups one by one, as a run on an output that was created at that time."""
    planner = planner or make_planner()
    async with ScoreStore(
        locate(str(folder)),
        keeps_documents=reuse,
        clock=lambda: (begun_us if clock_us is None else clock_us) / 1e6,
        linger_s=0.0,
    ) as store:
        scorer = CachedScorer(SharedScores(store), service.ask, Metrics(), StopSwitch())
        plans = [plan_like_a_run(planner, group) for group in groups]
        if reuse:
            plans = PartialReuse(await store.earlier_answers(begun_us)).apply(plans)
        rankings = []
        for plan in plans:
            known = await scorer.look_up(plan.keys())
            ask = partial(scorer.ask, known=known)
            rankings.append(await rerank_group(plan, ask, planner, RefusedSizes()))
        return rankings


def texts(numbers: Sequence[int] | range) -> list[str]:
    return [f"document number {number}" for number in numbers]


def changed(count: int, new: Sequence[int]) -> list[str]:
    """Return the documents 0..count-1, those at `new` with another text."""
    return [
        f"document number {number}" + (" anew" if number in new else "") for number in range(count)
    ]


def facts(ranking: Ranking) -> tuple[object, ...]:
    return (
        ranking.order.tolist(),
        ranking.scores.tobytes(),
        ranking.merge_status,
        ranking.certified_depth,
        ranking.num_requests,
        ranking.total_tokens,
        ranking.rejects,
    )


def shifted(scores: np.ndarray) -> np.ndarray:
    """Map the logits of a request affinely; the map depends on the request alone."""
    rng = np.random.default_rng(xxh3_64_intdigest(scores.tobytes()))
    logit = np.log(scores / (1 - scores))
    return np.asarray(1 / (1 + np.exp(-(np.exp(0.2 * rng.normal()) * logit + rng.normal()))))


async def test_of_a_hundred_documents_five_that_changed_are_sent_with_anchors(
    tmp_path: Path,
) -> None:
    new = [3, 20, 41, 77, 99]
    given, service = changed(100, new), FakeService()
    (before,) = await night(
        tmp_path / "store", [make_group(texts(range(100)))], FakeService(), FIRST
    )
    (whole,) = await night(tmp_path / "other", [make_group(given)], FakeService(), SECOND)

    (ranking,) = await night(tmp_path / "store", [make_group(given)], service, SECOND)

    (asked,) = service.calls
    assert len(asked) == len(new) + ANCHORS
    assert {given[place] for place in new} < set(asked) < set(given)
    assert (ranking.merge_status, ranking.certified_depth) == ("comparable", 100)
    assert ranking.order.tolist() == whole.order.tolist()
    assert ranking.scores.tolist() == whole.scores.tolist()
    paid = sum(tokens("what is it") + tokens(text) for text in asked)
    assert (ranking.num_requests, ranking.total_tokens) == (2, before.total_tokens + paid)
    assert paid == pytest.approx(whole.total_tokens * 13 / 100, rel=0.1)
    assert ranking.documents_reused == 95
    assert ranking.saved_tokens == pytest.approx(whole.total_tokens - paid, rel=0.02)
    assert isinstance(ranking.saved_tokens, int)


async def test_if_nothing_is_new_nothing_is_sent(tmp_path: Path) -> None:
    service = FakeService(distort=shifted)
    (before,) = await night(tmp_path, [make_group(texts(range(97)))], service, FIRST)
    of_document = dict(zip(before.order.tolist(), before.scores.tolist(), strict=True))
    kept = [number for number in range(97) if number % 10]

    (ranking,) = await night(tmp_path, [make_group(texts(kept))], service, SECOND)

    assert len(service.calls) == 1
    assert (ranking.merge_status, ranking.certified_depth) == ("single_request", 87)
    assert (ranking.num_requests, ranking.total_tokens) == (1, before.total_tokens)
    expected = {row: of_document[number] for row, number in enumerate(kept)}
    assert dict(zip(ranking.order.tolist(), ranking.scores.tolist(), strict=True)) == expected
    assert ranking.documents_reused == 87
    assert ranking.saved_tokens == before.total_tokens * 87 // 97


async def test_a_stored_answer_without_usage_counts_as_planned(tmp_path: Path) -> None:
    service, kept = FakeService(reports_usage=False), make_group(texts(range(50)))
    await night(tmp_path, [make_group(texts(range(60)))], service, FIRST)

    (ranking,) = await night(tmp_path, [kept], service, SECOND)

    (request,) = make_planner().plan(kept).requests()
    assert ranking.documents_reused == 50
    assert ranking.total_tokens == request.tokens
    assert ranking.saved_tokens == request.tokens * 50 // 60


async def test_half_of_a_group_may_be_new_if_it_takes_half_of_the_tokens(tmp_path: Path) -> None:
    service, planner = FakeService(), make_planner(merge="trust")
    await night(tmp_path, [make_group(texts(range(10, 20)))], service, FIRST, planner=planner)

    (ranking,) = await night(
        tmp_path, [make_group(texts(range(15, 25)))], service, SECOND, planner=planner
    )

    assert sorted(service.calls[1]) == texts(range(20, 25))
    assert ranking.documents_reused == 5


async def test_the_same_group_is_answered_by_the_store(tmp_path: Path) -> None:
    service = FakeService()
    (before,) = await night(tmp_path, [make_group(texts(range(40)))], service, FIRST)

    (again,) = await night(tmp_path, [make_group(texts(range(40)))], service, SECOND)

    assert facts(again) == facts(before)
    assert (len(service.calls), again.documents_reused, again.saved_tokens) == (1, 0, 0)


async def test_a_text_made_to_have_the_hash_of_a_scored_one_is_not_taken_for_it(
    tmp_path: Path,
) -> None:
    one, other = twins()
    service = FakeService()
    await night(tmp_path, [make_group([*texts(range(60)), one])], service, FIRST)

    (ranking,) = await night(tmp_path, [make_group([*texts(range(60)), other])], service, SECOND)

    assert other in service.calls[1]
    assert len(service.calls[1]) == 1 + ANCHORS
    score = dict(zip(ranking.order.tolist(), ranking.scores.tolist(), strict=True))[60]
    assert score == relevance("what is it", other) != relevance("what is it", one)


async def test_answers_whose_documents_are_not_named_are_not_reused_in_part(
    tmp_path: Path,
) -> None:
    service = FakeService()
    given = make_group(texts(range(60)))
    await night(tmp_path, [given], service, FIRST, reuse=False)

    await night(tmp_path, [given], service, SECOND)
    await night(tmp_path, [make_group(changed(60, [1]))], service, SECOND)

    assert [len(call) for call in service.calls] == [60, 60]


@pytest.mark.parametrize(
    ("count", "new"),
    [(100, range(51)), (100, range(43)), (10, [4]), (3, [0])],
    ids=["less than half covered", "half and anchors", "mostly anchors", "none for anchors"],
)
async def test_a_group_is_sent_whole_if_reuse_would_save_less_than_half(
    tmp_path: Path, count: int, new: Sequence[int]
) -> None:
    service = FakeService()
    await night(tmp_path, [make_group(texts(range(count)))], FakeService(), FIRST)

    (ranking,) = await night(tmp_path, [make_group(changed(count, new))], service, SECOND)

    assert [len(call) for call in service.calls] == [count]
    assert (ranking.merge_status, ranking.documents_reused) == ("single_request", 0)


async def test_a_group_that_was_joined_before_is_paid_once(tmp_path: Path) -> None:
    """Both answers cover half of it; the remaining request of one of them is paid already."""
    service, planner = FakeService(), make_planner(merge="trust")
    first, second = (
        [make_group(texts(numbers), query=f"what is {query}") for query in range(8)]
        for numbers in (range(10, 20), range(15, 25))
    )
    await night(tmp_path, first, service, FIRST, planner=planner)
    joined = await night(tmp_path, second, service, SECOND, planner=planner)

    again = await night(tmp_path, second, service, THIRD, planner=planner)

    assert [len(call) for call in service.calls] == [10] * 8 + [5] * 8
    assert list(map(facts, again)) == list(map(facts, joined))


async def test_a_few_long_documents_are_less_than_half_of_a_group(tmp_path: Path) -> None:
    """Were the requests not comparable, many scores would have been paid for in vain."""
    long = [text + " and more" * 200 for text in texts(range(4))]
    service, planner = FakeService(), make_planner(merge="trust")
    await night(tmp_path, [make_group(long)], service, FIRST, planner=planner)

    for new in (range(4, 9), range(10, 14)):
        group = make_group([*long, *texts(new)])
        await night(tmp_path, [group], service, SECOND, planner=planner)

    assert [len(call) for call in service.calls] == [4, 4 + 5, 4]


@pytest.mark.parametrize(
    "other",
    [{"model": "gte-rerank-v2"}, {"instruct": "find the answer"}, {"max_tokens_per_document": 99}],
)
async def test_an_answer_of_another_scope_is_not_used(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    service = FakeService()
    await night(tmp_path, [make_group(texts(range(60)))], service, FIRST)
    given = [make_group(changed(60, [5]))]

    await night(tmp_path, given, service, SECOND, planner=make_planner(**other))
    await night(tmp_path, [make_group(changed(60, [5]), query="else")], service, SECOND)

    assert [len(call) for call in service.calls] == [60, 60, 60]


async def test_the_answer_that_covers_most_is_taken(tmp_path: Path) -> None:
    service = FakeService()
    for at_us, numbers in enumerate((range(30), range(10, 70), range(20, 75)), FIRST):
        await night(tmp_path / str(at_us), [make_group(texts(numbers))], service, at_us)
        shutil.copytree(tmp_path / str(at_us), tmp_path / "all", dirs_exist_ok=True)

    (ranking,) = await night(tmp_path / "all", [make_group(texts(range(80)))], service, SECOND)

    assert ranking.documents_reused == 60
    assert len(service.calls[-1]) == 20 + ANCHORS


async def test_if_the_requests_are_not_comparable_the_whole_group_is_sent(tmp_path: Path) -> None:
    """A final request would hold most of the group, so the group is sent as without reuse."""
    service, planner = FakeService(distort=shifted), make_planner(certify_depth=100)
    given = make_group(changed(100, [7, 60]))
    (whole,) = await night(tmp_path / "other", [given], FakeService(distort=shifted), SECOND)
    await night(tmp_path / "store", [make_group(texts(range(100)))], service, FIRST)

    (ranking,) = await night(tmp_path / "store", [given], service, SECOND, planner=planner)

    assert [len(call) for call in service.calls] == [100, 2 + ANCHORS, 100]
    assert facts(ranking) == facts(whole)
    assert ranking.documents_reused == 0
    paid_in_vain = sum(tokens("what is it") + tokens(text) for text in service.calls[1])
    assert ranking.saved_tokens == -paid_in_vain


@pytest.mark.parametrize("seed", range(8))
async def test_a_large_group_is_linked_within_the_bars(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    given = [f"{seed} {text}" for text in changed(480, rng.choice(480, 24, replace=False).tolist())]
    old = [text.removesuffix(" anew") for text in given]
    planner, service = make_planner(certify_depth=20), FakeService(distort=shifted)
    await night(tmp_path, [make_group(old)], service, FIRST, planner=planner)

    (ranking,) = await night(tmp_path, [make_group(given)], service, SECOND, planner=planner)

    true = [relevance("what is it", text) for text in given]
    order = ranking.order.tolist()
    assert ranking.merge_status in ("linked_affine", "linked_rank", "comparable")
    assert ranking.documents_reused == 456
    assert sum(map(len, service.calls[1:])) < 480 / 5
    if ranking.merge_status != "comparable":
        assert ranking.certified_depth == 20
        assert order[:20] == sorted(range(480), key=lambda row: -true[row])[:20]
    assert kendalltau(range(480), [-true[row] for row in order]).statistic > 0.99


async def test_trusted_scores_need_no_anchors(tmp_path: Path) -> None:
    service, planner = FakeService(), make_planner(merge="trust")
    await night(tmp_path, [make_group(texts(range(10)))], service, FIRST, planner=planner)

    (ranking,) = await night(
        tmp_path, [make_group(changed(10, [4]))], service, SECOND, planner=planner
    )

    assert service.calls[1] == ["document number 4 anew"]
    assert (ranking.merge_status, ranking.certified_depth) == ("trusted", 0)


async def test_a_stored_answer_can_stand_for_one_of_two_requests(tmp_path: Path) -> None:
    planner, service = make_planner(max_documents=400), FakeService()
    await night(tmp_path, [make_group(texts(range(390)))], service, FIRST, planner=planner)

    (ranking,) = await night(
        tmp_path, [make_group(texts(range(450)))], service, SECOND, planner=planner
    )

    assert [len(call) for call in service.calls] == [390, 60 + ANCHORS]
    assert ranking.order.tolist() == sorted(
        range(450), key=lambda row: -relevance("what is it", texts(range(450))[row])
    )


async def test_a_stored_answer_may_hold_more_than_a_request_may_now(tmp_path: Path) -> None:
    await night(tmp_path, [make_group(texts(range(60)))], FakeService(), FIRST)
    service, smaller = FakeService(), make_planner(max_documents=20)

    (ranking,) = await night(
        tmp_path, [make_group(texts(range(50)))], service, SECOND, planner=smaller
    )

    assert service.calls == []
    assert (ranking.merge_status, ranking.certified_depth) == ("single_request", 50)


async def test_a_new_document_that_is_refused_harms_itself_alone(tmp_path: Path) -> None:
    await night(tmp_path, [make_group(texts(range(60)))], FakeService(), FIRST)
    service = FakeService(refuses=lambda text: text == "document number 5 anew")

    (ranking,) = await night(tmp_path, [make_group(changed(60, [5, 30]))], service, SECOND)

    assert [(reject.row, reject.reason) for reject in ranking.rejects] == [(5, "refused_document")]
    assert ranking.order.tolist()[-1] == 5
    assert ranking.merge_status == "comparable"


async def test_if_the_partial_request_fails_the_stored_scores_are_kept(tmp_path: Path) -> None:
    await night(tmp_path, [make_group(texts(range(60)))], FakeService(), FIRST)
    failure = ContentRefused("inspection", "no")
    service = FakeService(failure=lambda request: failure)

    (ranking,) = await night(tmp_path, [make_group(changed(60, [5, 30]))], service, SECOND)

    assert {reject.row for reject in ranking.rejects} == {5, 30}
    assert (ranking.merge_status, ranking.certified_depth) == ("incomplete", 0)


async def test_if_the_partial_request_is_too_large_the_whole_group_is_sent(
    tmp_path: Path,
) -> None:
    await night(tmp_path, [make_group(texts(range(60)))], FakeService(), FIRST)
    service = FakeService(max_documents=9)

    (ranking,) = await night(tmp_path, [make_group(changed(60, [5, 30]))], service, SECOND)

    (whole,) = await night(tmp_path / "other", [make_group(changed(60, [5, 30]))], service, SECOND)
    assert facts(ranking) == facts(whole)
    assert ranking.rejects == ()


async def test_answers_saved_since_the_output_was_created_are_not_reused_partially(
    tmp_path: Path,
) -> None:
    """Otherwise the choice would depend on which groups were ranked before a kill."""
    service = FakeService()
    groups = [make_group(texts(range(60))), make_group(changed(60, [1]))]
    await night(tmp_path, groups, service, FIRST)

    await night(tmp_path, [make_group(changed(60, [2]))], service, FIRST, clock_us=FIRST - DAY_US)
    await night(tmp_path, [make_group(changed(60, [3]))], service, FIRST)

    assert [len(call) for call in service.calls] == [60, 60, 60, 60]


async def test_a_partially_reused_answer_counts_as_used(tmp_path: Path) -> None:
    service = FakeService()
    await night(tmp_path, [make_group(texts(range(60)))], service, FIRST)
    await night(tmp_path, [make_group(texts(range(50)))], service, THIRD)

    assert prune(locate(str(tmp_path)), 1.0, clock=lambda: (THIRD + 1) / 1e6).removed == 0
    assert info(locate(str(tmp_path))).requests == 1


@given(data=st.data())
@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_killed_after_every_answer_and_repeated_it_ranks_the_same(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("kills")
    distort: Distort = data.draw(st.sampled_from([lambda scores: scores, shifted]), "distort")
    planner = make_planner(certify_depth=data.draw(st.sampled_from([2, 100]), "depth"))
    count = data.draw(st.integers(20, 60), "count")
    group = st.builds(
        lambda new, start, query: make_group(changed(count, new)[start:], query=query),
        st.sets(st.integers(0, count - 1), max_size=count // 2),
        st.integers(0, 3),
        st.sampled_from(["what is it", "what else"]),
    )
    before = data.draw(st.lists(group, min_size=1, max_size=3), "before")
    after = data.draw(st.lists(group, min_size=1, max_size=4), "after")
    await night(folder / "first", before, FakeService(distort=distort), FIRST, planner=planner)
    whole = FakeService(distort=distort)
    shutil.copytree(folder / "first", folder / "whole")
    expected = await night(folder / "whole", after, whole, SECOND, planner=planner)

    for kill in range(len(whole.calls) + 1):
        store = shutil.copytree(folder / "first", folder / f"killed-{kill}")
        service = FakeService(distort=distort)
        service.failure = partial(_stop_after, kill, service)
        if kill < len(whole.calls):
            with pytest.raises(Interrupted):
                await night(store, after, service, SECOND, planner=planner)
        else:
            await night(store, after, service, SECOND, planner=planner)

        service.failure = lambda request: None
        ranked = await night(store, after, service, SECOND, planner=planner)

        assert list(map(facts, ranked)) == list(map(facts, expected))
        assert len(service.calls) - service.refused == len(whole.calls)


def _stop_after(count: int, service: FakeService, request: Request) -> RerankError | None:
    return Interrupted(15) if len(service.calls) > count else None


@given(
    count=st.integers(0, 80),
    new=st.sets(st.integers(0, 79)),
    gone=st.sets(st.integers(0, 79)),
    repeated=st.booleans(),
    max_documents=st.sampled_from([12, 40, 500]),
)
@example(count=41, new={1, 2, 3, 4, 5, 19, 36, 37}, gone=set(), repeated=False, max_documents=40)
@settings(deadline=None, max_examples=60)
async def test_undistorted_scores_give_the_ranking_of_the_whole_group(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    new: set[int],
    gone: set[int],
    repeated: bool,
    max_documents: int,
) -> None:
    folder, planner = tmp_path_factory.mktemp("same"), make_planner(max_documents=max_documents)
    kept = [text for place, text in enumerate(texts(range(count))) if place not in gone]
    given = [changed(count, list(new))[place] for place in range(count)]
    given += given[:3] if repeated else []
    limits = FakeService(max_documents=max_documents)
    alone = FakeService()
    (whole,) = await night(folder / "o", [make_group(given)], alone, FIRST, planner=planner)
    await night(folder / "s", [make_group([*kept, "gone"])], limits, FIRST, planner=planner)
    asked = len(limits.calls)

    (ranking,) = await night(folder / "s", [make_group(given)], limits, SECOND, planner=planner)

    assert limits.refused == 0
    if ranking.documents_reused:
        assert ranking.merge_status in ("single_request", "comparable")
    else:
        assert ranking.merge_status == whole.merge_status
    if not whole.merge_status.startswith("linked"):  # as one whole group in a hundred is by chance
        assert ranking.order.tolist() == whole.order.tolist()
        assert ranking.scores.tolist() == whole.scores.tolist()
    if ranking.documents_reused:
        assert 2 * sum(map(len, limits.calls[asked:])) <= sum(map(len, alone.calls))
