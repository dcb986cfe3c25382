"""Groups that fit one request unchanged: requests and rankings as by the full plan."""

import asyncio
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.equal_hashes import twins
from support.group_cases import Case, cases, contents, unhurried
from support.group_world import (
    FakeService,
    make_group,
    make_planner,
    make_settings,
    plan_like_a_run,
    relevance,
)
from support.ranking_facts import facts
from support.tables import candidates, write

from pipeline.core.errors import BadAnswer, TooLarge, Transient
from pipeline.core.groups import Group, GroupBatch
from pipeline.core.records import Ranking
from pipeline.planning.body_bytes import MAX_ESCAPE, MAX_UTF8
from pipeline.planning.plan import Plan
from pipeline.planning.planner import Planner
from pipeline.planning.single_request import plan_batch
from pipeline.ranking.refused_sizes import RefusedSizes, RequestSize
from pipeline.ranking.rerank_group import rerank_group
from pipeline.ranking.sort_batch import sort_rankings
from pipeline.source.batch_reader import BatchLimits
from pipeline.source.listing import list_input
from pipeline.source.source import Source
from pipeline.tokens.measures import measure_texts

roomy = st.sampled_from([(50, 60, 100_000), (30, 200, 5_000), (12, 16, 300)])


@st.composite
def roomy_cases(draw: st.DrawFn) -> Case:
    """Draw groups of which many fit one request unchanged."""
    case = draw(cases())
    max_documents, max_tokens_per_document, max_tokens_per_request = draw(roomy)
    return replace(
        case,
        max_documents=max_documents,
        max_tokens_per_document=max_tokens_per_document,
        max_tokens_per_request=max_tokens_per_request,
    )


def rank(planner: Planner, group: Group, service: FakeService, *, in_full: bool = False) -> Ranking:
    plan = planner.plan(group) if in_full else plan_like_a_run(planner, group)
    return rank_by(plan, service, planner, RefusedSizes())


def rank_by(
    plan: Plan, service: FakeService, planner: Planner, refused_sizes: RefusedSizes
) -> Ranking:
    return asyncio.run(rerank_group(plan, service.ask, planner, refused_sizes))


def coarse(query: str, text: str) -> float:
    """Return one of three scores, so that many are equal."""
    return len(text) % 3 / 2


@unhurried
@given(case=cases() | roomy_cases(), reports_usage=st.booleans())
def test_a_group_is_requested_and_ranked_the_same_either_way(case, reports_usage):
    group, planner = case.group(before=["another group's", None]), case.planner()
    plan = plan_like_a_run(planner, group)

    if plan.single_request is not None:
        full = planner.plan(group)
        (quick,), (bounded,) = plan.requests(), full.requests()
        assert contents([quick])[0][:3] == contents([bounded])[0][:3]
        assert quick.tokens >= bounded.tokens == planner.single_request_tokens(group)
        assert plan.keys() == full.keys()
        assert plan.document_of_row.tolist() == full.document_of_row.tolist()
        assert contents([plan.request(full.sending_order(np.arange(len(full.units))))]) == (
            contents(full.requests())
        )
    services = [FakeService(score=coarse, reports_usage=reports_usage) for _ in range(2)]
    quickly = rank(planner, group, services[0])
    in_full = rank(planner, group, services[1], in_full=True)

    assert facts(quickly) == facts(in_full)
    assert services[0].calls == services[1].calls


@pytest.mark.parametrize("model", ["qwen3-rerank", "gte-rerank-v2", "qwen3-vl-rerank"])
def test_the_tokens_of_a_single_request_are_in_the_models_own_count(model):
    planner = make_planner(model=model)
    group = make_group(["a text " * 30, "ein dritter, für Ü", "四"], query="a question")

    (request,) = planner.plan(group).requests()

    assert planner.single_request_tokens(group) == request.tokens


@pytest.mark.parametrize("model", ["qwen3-rerank", "gte-rerank-v2", "qwen3-vl-rerank"])
def test_a_group_fits_one_request_unchanged_unless_a_text_or_a_limit_prevents_it(model):
    planner = make_planner(model=model)
    ordinary = ["one text", "another text", "ein dritter, für Ü", "四"]

    def fits(texts, **how) -> bool:
        return plan_like_a_run(planner, make_group(texts, **how)).single_request is not None

    assert fits(ordinary)
    assert fits(ordinary, ranks=[4, 4, 2, 1])
    assert not fits([*ordinary, "one text"])
    assert not fits([*ordinary, " "])
    assert not fits([*ordinary, None])
    assert not fits([*ordinary, "word " * 40_000])
    assert not fits([f"text {number}" for number in range(501)])
    assert not fits(ordinary, query=" ")
    assert not fits(ordinary, query=None)


def test_equal_scores_and_ranks_are_ordered_by_content_not_by_input_order():
    texts = ["b", "c", "a"]
    planner, service = make_planner(), FakeService(score=lambda query, text: 0.5)

    rankings = [
        [texts[row] for row in rank(planner, group, service).order]
        for texts in (texts, texts[::-1])
        for group in [make_group(texts, ranks=[1, 1, 1])]
    ]

    assert rankings[0] == rankings[1]


def test_texts_made_to_have_one_hash_are_two_documents():
    one, other = twins()
    texts = [other, "an ordinary text", one, other]
    planner, service = make_planner(), FakeService()

    rankings = [
        rank(planner, make_group(given, ranks=ranks), service)
        for given, ranks in ((texts, [1, 2, 1, 1]), (texts[::-1], [1, 1, 2, 1]))
    ]

    assert [sorted(call) for call in service.calls] == [sorted(set(texts))] * 2
    assert service.calls[0] == service.calls[1]
    first, second = (ranking.row_scores.tolist() for ranking in rankings)
    assert first == second[::-1]
    assert first == [relevance("what is it", text) for text in texts]


def test_a_refused_single_request_is_not_sent_again():
    texts = [f"document {number}" for number in range(8)]
    service = FakeService(refuses=lambda text: text == "document 3")

    ranking = rank(make_planner(), make_group(texts), service)

    assert [reject.row for reject in ranking.rejects] == [3]
    assert ranking.rejects[0].reason == "refused_document"
    assert [len(call) for call in service.calls].count(8) == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Transient("http_500", "broken"), "unavailable"),
        (BadAnswer("not_json", "no answer"), "bad_answer"),
    ],
)
def test_a_single_request_without_an_answer_is_sent_once_and_its_group_rejected(error, reason):
    service = FakeService(failure=lambda request: error)

    ranking = rank(make_planner(), make_group(["a", "b"]), service)

    assert {reject.reason for reject in ranking.rejects} == {reason}
    assert len(service.calls) == 1


def test_a_single_request_of_a_refused_size_is_not_sent():
    planner, service = make_planner(), FakeService(max_documents=2)
    refused = RefusedSizes()
    refused.learn(RequestSize(3, 0, 0))
    plan = plan_like_a_run(planner, make_group(["a", "b", "c"]))
    assert plan.single_request is not None

    ranking = rank_by(plan, service, planner, refused)

    assert max(map(len, service.calls)) <= 2
    assert not ranking.rejects


def test_a_single_request_that_is_too_large_for_the_service_is_packed_again():
    service = FakeService(failure=lambda request: _too_large_over(2, request))

    ranking = rank(make_planner(merge="trust"), make_group(["a", "b", "c"]), service)

    assert not ranking.rejects
    assert ranking.num_requests > 1
    assert [len(call) for call in service.calls].count(3) == 1


def _too_large_over(most: int, request) -> Exception | None:
    return TooLarge("too_large", "too many") if request.num_documents > most else None


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=12), rows=st.sampled_from([1, 3, 7, 50])
)
def test_a_plan_does_not_depend_on_the_batch_of_its_group(tmp_path_factory, sizes, rows):
    folder = tmp_path_factory.mktemp("plans")
    table = candidates(sizes, text=[f"text {place % 5}" for place in range(sum(sizes))])
    source = Source(
        list_input(str(write(table, folder / "in.parquet"))), limits=BatchLimits(max_rows=rows)
    )
    planner = Planner(make_settings())

    plans = [
        plan
        for batch in source.iter_batches()
        for plan in plan_batch(planner, batch, measure_texts(batch.texts)).complete()
    ]

    assert [plan.group.output.index for plan in plans] == list(range(len(sizes)))
    for plan in plans:
        full = planner.plan(plan.group)
        assert plan.keys() == full.keys()
        if plan.single_request is not None:
            assert contents(plan.requests()) == contents(full.requests())


def test_many_groups_are_sorted_at_once_and_each_as_if_alone():
    planner, groups = make_planner(), []
    for number, ranks in enumerate(([1, 2, 3], [3, 2, 1], [1, 1, 1], [2], [1, 2, 3, 4, 5])):
        texts = [f"text {number} {place}" for place in range(len(ranks))]
        groups.append(make_group(texts, ranks=ranks))
    service = FakeService(score=coarse)

    def answer(group: Group) -> Ranking:
        plan = plan_like_a_run(planner, group)
        return asyncio.run(rerank_group(plan, service.ask, planner, RefusedSizes()))

    for choice in (groups, groups[:1] + groups[3:]):  # with and without ranks that fall
        chosen = [answer(group) for group in choice]
        sort_rankings(chosen)
        alone = [rank(planner, group, service, in_full=True) for group in choice]
        assert [facts(ranking) for ranking in chosen] == [facts(ranking) for ranking in alone]


def batch_of(groups: list[tuple[str | None, list[str | None], list[int]]]) -> GroupBatch:
    """Return groups as they are read together: a query, texts and first-stage ranks each."""
    texts = pa.array([text for _, held, _ in groups for text in held], pa.large_string())
    offsets = np.append(0, np.cumsum([len(held) for _, held, _ in groups]))
    return GroupBatch(
        first_group=0,
        row_offsets=offsets,
        offsets=offsets,
        query_ids=[f"q{number}" for number in range(len(groups))],
        queries=[query for query, _, _ in groups],
        texts=texts,
        first_stage_rank=np.array([rank for _, _, ranks in groups for rank in ranks], np.int32),
        candidates=pa.table({"doc_id": pa.array(range(len(texts)))}),
        passthrough_bytes=np.zeros(len(groups), np.int64),
    )


def plans_of(planner: Planner, batch: GroupBatch) -> list[Plan | None]:
    return list(plan_batch(planner, batch, measure_texts(batch.texts)).plans)


SAME_SIZES = [
    ("one", ["a", "b", "c"], [1, 2, 3]),
    ("two", ["c", "b", "a"], [3, 2, 1]),
    ("ünd drei", ["c", "漢字", "😀 a"], [2, 2, 5]),
    ("four", ["a", "x y z", "b"], [1, 3, 2]),
]
MIXED_SIZES = [
    *SAME_SIZES,
    ("five", ["a"], [9]),
    (None, ["a", "b"], [1, 2]),
    ("six", ["d", "d"], [1, 2]),
    ("seven", [], []),
    ("eight", ["a", None], [1, 2]),
    ("nine", ["z", "y", "x", "w", "v"], [5, 4, 3, 2, 9]),
    ("nine", ["v"], [1]),
]


@pytest.mark.parametrize("groups", [SAME_SIZES, MIXED_SIZES, MIXED_SIZES[::-1]])
@pytest.mark.parametrize(
    ("model", "how"),
    [
        ("qwen3-rerank", {}),
        ("qwen3-rerank", {"instruct": "rank by what answers"}),
        ("gte-rerank-v2", {}),
        ("rerank-v3.5", {}),
    ],
)
def test_groups_that_were_read_together_are_planned_as_alone(groups, model, how):
    accepts = frozenset({"text", "image"})
    planner = Planner(make_settings(model=model, **how), accepts=accepts)
    batch = batch_of(groups)

    plans = plans_of(planner, batch)

    for plan, group in zip(plans, batch.iter_groups(measure_texts(batch.texts)), strict=True):
        query, texts = group.query, group.texts.to_pylist()
        is_single = bool(query and texts and all(texts) and len({*texts}) == len(texts))
        assert (plan is not None) == is_single
        if plan is None:
            continue
        full = planner.plan(group)
        for name in ("query", "scope", "order_salt", "query_cut", "accepts"):
            assert getattr(plan, name) == getattr(full, name), name
        (request,), (expected,) = plan.requests(), full.requests()
        assert contents([request])[0][:3] == contents([expected])[0][:3]
        assert (request.scope, request.query_id) == (expected.scope, expected.query_id)
        assert request.tokens >= expected.tokens
        assert request.search_units >= expected.search_units
        single = plan.single_request
        assert single is not None
        assert [texts[row] for row in single.rows] == list(request.documents)
        assert single.ranks_ascend == bool((np.diff(group.first_stage_rank) > 0).all())


def test_a_group_that_takes_a_whole_request_is_planned_without_packing():
    texts = [f"text {number}" for number in range(10)]
    group = ("what is it", texts, [*range(1, 11)])
    bounds = measure_texts(pa.array(texts, pa.large_string())).token_bounds
    whole = {
        "max_documents": 10,
        "max_tokens_per_document": int(bounds.max()),
        "max_tokens_per_request": int(bounds.sum()) + 10 * len("what is it"),
    }

    def fits(**how: int) -> bool:
        (plan,) = plans_of(make_planner(**whole | how), batch_of([group]))
        return plan is not None

    # The query is counted, where it is not short against the limit of an item.
    assert fits(max_tokens_per_document=4_000)
    for name in whole:
        assert not fits(**{"max_tokens_per_document": 4_000, name: whole[name] - 1}), name


def test_a_group_whose_bytes_may_be_too_many_is_packed():
    planner = make_planner(max_tokens_per_request=10**9, max_tokens_per_document=10**9)
    most = planner.request_limits("", 0).bytes_alone - 32 - MAX_ESCAPE * MAX_UTF8 - 32
    texts = ["a" * (most // 6 - 6), "b"]

    def fits(query: str, *more: str) -> bool:
        (plan,) = plans_of(
            planner, batch_of([(query, [*texts, *more], [1, 2, 3][: 2 + len(more)])])
        )
        return plan is not None

    assert fits("q")
    assert not fits("q", "c" * 20)
    assert not fits("q" * 10)
