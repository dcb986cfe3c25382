"""Ranking of one group, by a service that scores each text by itself."""

import asyncio
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.group_world import (
    FakeService,
    failing,
    make_group,
    make_planner,
    plan_like_a_run,
    relevance,
    tokens,
)
from support.ranking_facts import facts

from pipeline.core.errors import (
    BadAnswer,
    IncompleteAnswer,
    Interrupted,
    Rejected,
    ServiceRefused,
    TooLarge,
    Transient,
)
from pipeline.core.groups import Group
from pipeline.core.records import Ranking, Request, Scores
from pipeline.planning.planner import Planner
from pipeline.ranking.refused_sizes import RefusedSizes
from pipeline.ranking.rerank_group import rerank_group

unhurried = settings(deadline=None, max_examples=100)


async def rank(
    group: Group,
    service: FakeService,
    planner: Planner | None = None,
    refused_sizes: RefusedSizes | None = None,
) -> Ranking:
    planner = planner or make_planner()
    memory = RefusedSizes() if refused_sizes is None else refused_sizes
    plan = plan_like_a_run(planner, group)
    ranking = await rerank_group(plan, service.ask, planner, memory)
    assert_sound(group, ranking)
    return ranking


def assert_sound(group: Group, ranking: Ranking) -> None:
    """Check what holds for every ranking."""
    assert sorted(ranking.order) == list(range(group.num_candidates))
    scored = ~np.isnan(ranking.scores)
    num_scored = int(scored.sum())
    assert scored[:num_scored].all()
    assert (np.diff(ranking.scores[:num_scored]) <= 0).all()
    ranks = group.first_stage_rank[ranking.order]
    equal = np.diff(ranking.scores[:num_scored]) == 0
    assert (np.diff(ranks[:num_scored])[equal] >= 0).all()
    assert (np.diff(ranks[num_scored:]) >= 0).all()
    assert [reject.row for reject in ranking.rejects] == sorted(ranking.order[num_scored:])
    assert 0 <= ranking.certified_depth <= num_scored


def documents(count: int) -> list[str]:
    return [f"document number {number}" for number in range(count)]


def by_relevance(texts: list[str], query: str = "what is it") -> list[int]:
    return sorted(range(len(texts)), key=lambda row: -relevance(query, texts[row]))


async def test_candidates_are_ranked_by_score():
    texts = documents(30)
    service = FakeService()

    ranking = await rank(make_group(texts), service)

    assert ranking.order.tolist() == by_relevance(texts)
    assert ranking.scores.tolist() == sorted(relevance("what is it", t) for t in texts)[::-1]
    assert (ranking.merge_status, ranking.certified_depth) == ("single_request", 30)
    assert ranking.num_requests == len(service.calls) == 1
    assert ranking.total_tokens == sum(tokens(t) + tokens("what is it") for t in texts)
    assert ranking.rejects == ()


async def test_without_usage_the_tokens_are_those_that_were_planned():
    group, service = make_group(documents(5)), FakeService(reports_usage=False)

    ranking = await rank(group, service)

    (request,) = make_planner().plan(group).requests()
    assert ranking.total_tokens == request.tokens


async def test_without_usage_the_tokens_of_several_requests_are_those_that_were_planned():
    group, service = make_group(documents(30)), FakeService(reports_usage=False)
    planner = make_planner(max_documents=20)

    ranking = await rank(group, service, planner)

    requests = planner.plan(group).requests()
    assert ranking.num_requests == len(requests) == 2
    assert ranking.total_tokens == sum(request.tokens for request in requests)


async def test_equal_scores_keep_first_stage_order():
    group = make_group(documents(9), ranks=[5, 3, 9, 1, 7, 2, 8, 4, 6])

    ranking = await rank(group, FakeService(score=lambda query, text: 0.5))

    assert group.first_stage_rank[ranking.order].tolist() == list(range(1, 10))


@pytest.mark.parametrize("merge", ["auto", "trust"])
async def test_equal_scores_of_several_requests_keep_first_stage_order(merge):
    ranks = np.random.default_rng(0).permutation(60) + 1
    texts = [f"document number {number % 50}" for number in range(60)]  # some of them twice
    group = make_group(texts, ranks=ranks)
    service = FakeService(score=lambda query, text: round(relevance(query, text), 1))

    ranking = await rank(group, service, make_planner(max_documents=20, merge=merge))

    assert ranking.num_requests >= 3


async def test_candidates_of_equal_rank_and_score_may_be_in_any_input_order():
    texts = documents(12)
    service = FakeService(score=lambda query, text: 0.5)

    one = await rank(make_group(texts, ranks=[1] * 12), service)
    other = await rank(make_group(texts[::-1], ranks=[1] * 12), service)

    assert [texts[row] for row in one.order] == [texts[::-1][row] for row in other.order]


async def test_copies_of_a_text_share_its_score_and_are_sent_once():
    texts = ["a", "b", "a", "c", "b", "a"]
    service = FakeService()

    ranking = await rank(make_group(texts), service)

    assert sorted(service.calls[0]) == ["a", "b", "c"]
    scores = dict(zip(ranking.order.tolist(), ranking.scores.tolist(), strict=True))
    assert scores == {row: relevance("what is it", text) for row, text in enumerate(texts)}
    assert ranking.certified_depth == 6


async def test_candidates_without_text_come_last_in_first_stage_order():
    texts = [None, "one", " ", "two", ""]

    ranking = await rank(make_group(texts, ranks=[3, 4, 2, 5, 1]), FakeService())

    assert ranking.order[2:].tolist() == [4, 2, 0]
    assert np.isnan(ranking.scores[2:]).all()
    assert {reject.reason for reject in ranking.rejects} == {"no_text"}
    assert (ranking.num_skipped, ranking.num_rejected) == (3, 0)
    assert ranking.merge_status == "single_request"


@pytest.mark.parametrize(
    ("texts", "query"), [([], "query"), ([None, " "], "query"), (["text"], None)]
)
async def test_a_group_with_nothing_to_send_is_empty(texts, query):
    service = FakeService()

    ranking = await rank(make_group(texts, query=query), service)

    assert ranking.merge_status == "empty"
    assert ranking.certified_depth == ranking.num_requests == ranking.total_tokens == 0
    assert service.calls == []


async def test_a_refused_document_is_rejected_and_the_rest_ranked_as_one_request():
    texts = documents(40)
    service = FakeService(refuses=lambda text: text == texts[17])

    ranking = await rank(make_group(texts), service)

    assert ranking.order.tolist() == [row for row in by_relevance(texts) if row != 17] + [17]
    (reject,) = ranking.rejects
    assert (reject.row, reject.reason, reject.code) == (17, "refused_document", "inspection")
    assert ranking.merge_status == "single_request"
    assert ranking.certified_depth == 39
    assert (ranking.num_requests, len(service.calls[-1])) == (1, 39)


async def test_a_refused_query_rejects_all_candidates_after_few_requests():
    service = FakeService(refuses=lambda text: text == "what is it")

    ranking = await rank(make_group(documents(500)), service)

    assert {reject.reason for reject in ranking.rejects} == {"refused_request"}
    assert len(ranking.rejects) == 500
    assert ranking.merge_status == "incomplete"
    assert len(service.calls) < 25


async def test_a_document_too_long_for_the_service_does_not_split_the_group():
    texts = [*documents(60), "far too long " * 40]
    service = FakeService(max_pair_tokens=50)

    ranking = await rank(make_group(texts), service)

    assert [(r.row, r.reason) for r in ranking.rejects] == [(60, "refused_document")]
    assert (ranking.merge_status, ranking.num_requests) == ("single_request", 1)
    assert len(service.calls) == 3


@pytest.mark.parametrize("limit", [{"max_documents": 7}, {"max_tokens": 90}, {"max_bytes": 300}])
async def test_a_refusal_for_size_packs_smaller_until_the_service_takes_it(limit):
    texts = documents(40)
    service = FakeService(**limit)
    refusals: list[None] = []
    memory = RefusedSizes(on_refusal=lambda: refusals.append(None))

    ranking = await rank(make_group(texts), service, make_planner(merge="trust"), memory)

    assert ranking.order.tolist() == by_relevance(texts)
    assert ranking.merge_status == "trusted"
    assert len(refusals) == service.refused > 0


async def test_packing_smaller_goes_down_to_single_documents_and_no_further():
    texts = ["word " * 9 + str(number) for number in range(6)]
    service = FakeService(max_tokens=tokens("what is it") + tokens(texts[0]))

    ranking = await rank(make_group(texts), service, make_planner(merge="trust"))

    assert ranking.order.tolist() == by_relevance(texts)
    assert ranking.rejects == ()
    assert ranking.num_requests == 6


@st.composite
def limited_services(draw: st.DrawFn) -> FakeService:
    limit = st.sampled_from([np.inf, np.inf, 5, 11, 23])
    return FakeService(
        max_documents=draw(limit),
        max_tokens=8 * draw(limit),
        max_pair_tokens=3 * draw(limit),
        max_bytes=40 * draw(limit),
    )


@unhurried
@given(
    limited_services(),
    st.lists(
        st.lists(
            st.integers(1, 12).map(lambda n: "word " * n) | st.text("ab漢\n", max_size=20),
            min_size=1,
            max_size=25,
        ),
        min_size=2,
        max_size=5,
    ),
    st.integers(20, 400),
    st.sampled_from(["auto", "trust"]),
)
def test_remembered_sizes_save_requests_and_change_no_ranking(service, groups, max_tokens, merge):
    planner = make_planner(max_tokens_per_request=max_tokens, merge=merge)
    service = replace(service, failure=lambda request: None)

    async def rank_all(memory: RefusedSizes | None) -> list[tuple[object, ...]]:
        rankings = []
        for number, texts in enumerate(groups):
            # In half of the groups every text is counted, as a memory needs it.
            distinct = [f"{text} {place}" for place, text in enumerate(texts)]
            group = make_group(distinct, query="why " * (1 + number % 2))
            rankings.append(facts(await rank(group, service, planner, memory)))
        return rankings

    def without_numbers(outcome: list[tuple[object, ...]]) -> list[object]:
        # The fake's messages count its requests.
        return [
            (*of_group[:-1], [(r.row, r.reason, r.code) for r in of_group[-1]])
            for of_group in outcome
        ]

    without = asyncio.run(rank_all(None))
    num_without, service.calls = len(service.calls), []
    with_memory = asyncio.run(rank_all(RefusedSizes()))

    assert without_numbers(with_memory) == without_numbers(without)
    assert len(service.calls) <= num_without


async def test_a_request_is_sent_if_it_may_be_smaller_than_a_refused_one():
    service, memory = FakeService(max_tokens=70), RefusedSizes()
    planner = make_planner(merge="trust")
    many_tokens = ["1234567890" * 4, "0987654321" * 4]
    few_tokens = ["internationalisation " * 5, "internationalization " * 5]  # but more bytes
    await rank(make_group(many_tokens), service, planner, memory)

    ranking = await rank(make_group(few_tokens), service, planner, memory)

    assert memory
    assert ranking.num_requests == 1


async def test_a_request_as_large_as_a_refused_one_is_not_sent():
    service, memory = FakeService(max_documents=30), RefusedSizes()
    planner = make_planner(max_tokens_per_request=800, merge="trust")
    texts = [f"some unintelligible words {number}" for number in range(90)]
    await rank(make_group(texts), service, planner, memory)
    refused_before, service.refused = service.refused, 0

    await rank(make_group([text + " again" for text in texts]), service, planner, memory)

    assert refused_before > 0
    assert service.refused == 0


@pytest.mark.parametrize(
    "limit", [{"max_tokens": 900}, {"max_documents": 20}, {"max_bytes": 3_000}]
)
async def test_refusals_for_size_do_not_grow_with_the_number_of_groups(limit):
    """English has a fifth of the tokens of its bound, so that bounds alone predict no refusal."""
    service, memory = FakeService(**limit), RefusedSizes()
    planner, refused, random = make_planner(max_documents=500), [], Random(1)
    words = "the river understands international agreements about quick brown foxes".split()

    for number in range(120):
        texts = [f"{' '.join(random.choices(words, k=15))} {number} {row}" for row in range(50)]
        await rank(make_group(texts), service, planner, memory)
        refused.append(service.refused)

    assert refused[-1] < 40
    assert refused[-1] - refused[40] < 12


async def test_a_document_too_long_for_the_service_says_nothing_of_larger_groups():
    """The two documents are refused for one of them, the sixty are fine together."""
    service, memory = FakeService(max_pair_tokens=50), RefusedSizes()
    planner = make_planner(max_tokens_per_request=1_000)
    too_long = ["far too long " * 40, "short"]
    texts = documents(60)
    await rank(make_group(too_long), service, planner, memory)
    service.calls.clear()

    ranking = await rank(make_group(texts), service, planner, memory)

    assert not memory
    assert [len(call) for call in service.calls] == [60]
    assert (ranking.merge_status, ranking.num_requests) == ("single_request", 1)


async def test_estimated_tokens_predict_no_refusal():
    """The second group is larger by the estimate for gte, but smaller for the service."""
    service, memory = FakeService(max_tokens=80), RefusedSizes()
    planner = make_planner(model="gte-rerank-v2", merge="trust", max_tokens_per_request=112)
    await rank(make_group(["1234567890" * 4, "0987654321" * 4]), service, planner, memory)
    service.calls.clear()

    ranking = await rank(make_group(["word " * 34, "word " * 34 + "!"]), service, planner, memory)

    assert memory
    assert ranking.num_requests == len(service.calls) == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Transient("http_503", "down"), "unavailable"),
        (BadAnswer("not_json", "?"), "bad_answer"),
        (Rejected("odd", "no"), "refused_request"),
    ],
)
async def test_a_failed_request_leaves_the_group_incomplete(error, reason):
    texts = documents(40)
    service = FakeService(failure=failing(error, holding=texts[3]))

    ranking = await rank(make_group(texts), service, make_planner(max_documents=20))

    assert ranking.merge_status == "incomplete"
    assert ranking.certified_depth == 0
    assert 3 in [reject.row for reject in ranking.rejects]
    assert {reject.reason for reject in ranking.rejects} == {reason}
    assert 10 <= len(ranking.rejects) <= 20
    scored = ranking.order[: 40 - len(ranking.rejects)].tolist()
    assert scored == [row for row in by_relevance(texts) if row in scored]


@pytest.mark.parametrize("max_documents", [500, 20])
async def test_a_document_that_answers_leave_out_is_rejected_alone(max_documents):
    """In the answer to the only request, and in those of several requests."""
    texts = documents(40)
    service = FakeService()

    def leaving_out(request: Request) -> IncompleteAnswer | None:
        if texts[3] not in request.documents:
            return None
        scores = [
            np.nan if text == texts[3] else relevance(request.query, text)
            for text in request.documents
        ]
        return IncompleteAnswer(np.array(scores), service.usage(request), "too few")

    service.failure = leaving_out
    planner = make_planner(max_documents=max_documents)

    ranking = await rank(make_group(texts), service, planner)

    assert [(reject.row, reject.reason) for reject in ranking.rejects] == [(3, "bad_answer")]
    assert ranking.order[:39].tolist() == [row for row in by_relevance(texts) if row != 3]
    assert ranking.merge_status in ("single_request", "comparable")
    assert ranking.num_requests == len(service.calls)


async def test_a_group_whose_only_request_fails_is_incomplete():
    service = FakeService(failure=lambda request: Transient("http_503"))

    ranking = await rank(make_group(documents(4), ranks=[2, 4, 1, 3]), service)

    assert ranking.merge_status == "incomplete"
    assert ranking.order.tolist() == [2, 0, 3, 1]
    assert ranking.num_requests == ranking.total_tokens == 0


async def test_the_message_of_a_reject_does_not_depend_on_which_answer_comes_first():
    texts = documents(40)
    planner = make_planner(max_documents=20)
    plan = planner.plan(make_group(texts))
    anchor = plan.units.texts(plan.packing.anchors)[0]

    async def ranked(reverse: bool) -> Ranking:
        waiting: list[asyncio.Future[None]] = []

        async def ask(request: Request) -> Scores:
            name = next(text for text in sorted(request.documents) if text not in anchors)
            future = asyncio.get_running_loop().create_future()
            waiting.append(future)
            if len(waiting) == len(plan.packing.homes):
                for other in reversed(waiting) if reverse else waiting:
                    other.set_result(None)
            await future
            raise Transient("http_503", f"the request of {name}")

        return await rerank_group(plan, ask, planner, RefusedSizes())

    anchors = plan.units.texts(plan.packing.anchors)

    one, other = await ranked(False), await ranked(True)

    assert anchor in anchors
    assert len({reject.message for reject in one.rejects}) == len(plan.packing.homes)
    assert facts(one) == facts(other)


async def test_comparable_requests_are_ranked_by_their_own_scores_without_a_final_request():
    texts = documents(120)
    service = FakeService()

    ranking = await rank(make_group(texts), service, make_planner(max_documents=50))

    assert ranking.order.tolist() == by_relevance(texts)
    assert (ranking.merge_status, ranking.certified_depth) == ("comparable", 120)
    assert ranking.num_requests == len(service.calls) == 3


async def test_requests_to_a_listwise_model_are_never_comparable():
    planner = make_planner(max_documents=50, listwise=True)

    ranking = await rank(make_group(documents(120)), FakeService(), planner)

    assert ranking.merge_status.startswith("linked_")
    assert ranking.num_requests > 3


def shifted_by_request(scores: np.ndarray) -> np.ndarray:
    """Shift the logits by an amount that depends on the request."""
    shift = float(scores.sum() * 1e4) % 4 - 2
    return 1 / (1 + np.exp(-(np.log(scores / (1 - scores)) + shift)))


async def test_requests_that_differ_are_linked_and_a_final_request_orders_the_head():
    texts = documents(240)
    service = FakeService(distort=shifted_by_request)

    ranking = await rank(
        make_group(texts), service, make_planner(max_documents=100, certify_depth=10)
    )

    assert ranking.merge_status == "linked_affine"
    assert ranking.certified_depth == 10
    assert ranking.order[:10].tolist() == by_relevance(texts)[:10]
    assert ranking.num_requests == len(service.calls) > 3
    assert [texts[row] for row in ranking.order[:10]] == sorted(
        service.calls[-1], key=lambda text: -relevance("what is it", text)
    )[:10]


async def test_trusted_requests_are_ranked_by_their_own_scores_without_anchors():
    texts = documents(240)
    service = FakeService(distort=shifted_by_request)

    ranking = await rank(make_group(texts), service, make_planner(max_documents=100, merge="trust"))

    assert (ranking.merge_status, ranking.certified_depth) == ("trusted", 0)
    assert len(service.calls) == 3
    assert sum(map(len, service.calls)) == 240


async def test_the_ranking_does_not_depend_on_the_order_of_the_input():
    texts = [f"document number {number % 200}" for number in range(240)]
    order = np.random.default_rng(1).permutation(240)
    planner = make_planner(max_documents=100, certify_depth=10)

    one = await rank(make_group(texts), FakeService(distort=shifted_by_request), planner)
    other = await rank(
        make_group([texts[row] for row in order], ranks=order + 1),
        FakeService(distort=shifted_by_request),
        planner,
    )

    assert order[other.order].tolist() == one.order.tolist()
    assert other.scores.tobytes() == one.scores.tobytes()


async def test_a_document_takes_the_score_of_its_best_passage():
    long = " ".join(f"Sentence number {number} of many." for number in range(60))
    texts = ["short", long, "short too"]
    service = FakeService()
    planner = make_planner(max_tokens_per_document=40, long_documents="max-passage")

    ranking = await rank(make_group(texts), service, planner)

    passages = [text for text in service.calls[0] if "Sentence" in text]
    scores = dict(zip(ranking.order.tolist(), ranking.scores.tolist(), strict=True))
    assert len(passages) > 5
    assert scores[1] == max(relevance("what is it", passage) for passage in passages)
    assert scores[0] == relevance("what is it", "short")
    assert ranking.certified_depth == 3


async def test_a_document_with_a_refused_passage_has_no_score():
    long = " ".join(f"Sentence number {number} of many." for number in range(60))
    service = FakeService(refuses=lambda text: "number 33 " in text)
    planner = make_planner(max_tokens_per_document=40, long_documents="max-passage")

    ranking = await rank(make_group(["short", long, long, "short too"]), service, planner)

    assert [(r.row, r.reason) for r in ranking.rejects] == [
        (1, "refused_document"),
        (2, "refused_document"),
    ]
    assert ranking.certified_depth == 2


@pytest.mark.parametrize("end", [ServiceRefused("no balance"), Interrupted(15)])
async def test_when_the_service_ends_the_other_requests_of_the_group_still_arrive(end):
    texts = documents(60)
    arrived: list[int] = []
    ended = asyncio.Event()

    async def ask(request: Request) -> Scores:
        if texts[0] in request.documents and not ended.is_set():
            ended.set()
            raise end
        await ended.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        arrived.append(request.num_documents)
        return Scores(np.full(request.num_documents, 0.5))

    planner = make_planner(max_documents=20, merge="trust")
    with pytest.raises(type(end)) as raised:
        await rerank_group(planner.plan(make_group(texts)), ask, planner, RefusedSizes())

    assert raised.value is end
    assert arrived == [20, 20]


@pytest.mark.parametrize("too_large", [0, 1])
async def test_when_the_service_ends_a_group_is_not_packed_again(too_large: int):
    asked = []
    planner = make_planner(max_documents=10, merge="trust")
    plan = planner.plan(make_group(documents(20)))
    keys = plan.keys()

    async def ask(request: Request) -> Scores:
        asked.append(request.key)
        if request.key == keys[1 - too_large]:
            raise ServiceRefused("no balance")
        if request.key == keys[too_large]:
            raise TooLarge("size", "too large")
        return Scores(np.full(request.num_documents, 0.5))

    with pytest.raises(ServiceRefused):
        await rerank_group(plan, ask, planner, RefusedSizes())
    assert len(asked) == 2 + 1  # the longest document of the large request, alone


async def test_cancelling_a_group_cancels_its_requests():
    cancelled = []

    async def ask(request: Request) -> Scores:
        try:
            return await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.append(request.num_documents)
            raise

    planner = make_planner(max_documents=20, merge="trust")
    plan = planner.plan(make_group(documents(60)))
    task = asyncio.create_task(rerank_group(plan, ask, planner, RefusedSizes()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled == [20, 20, 20]


async def test_one_scale_is_taken_for_two_in_a_hundredth_of_groups_whose_heads_are_right() -> None:
    """The tests of comparability have the level .01; nothing but chance is in these scores."""
    split, whole = make_planner(max_documents=40), make_planner(max_documents=500)
    groups = [
        make_group([f"text {place}" for place in range(60)], query=f"question {number}")
        for number in range(1_000)
    ]
    linked = 0
    for group in groups:
        ranking = await rerank_group(split.plan(group), FakeService().ask, split, RefusedSizes())
        if ranking.merge_status == "comparable":
            continue
        linked += 1
        plan = whole.plan(group)
        expected = await rerank_group(plan, FakeService().ask, whole, RefusedSizes())
        assert ranking.order[:10].tolist() == expected.order[:10].tolist()

    assert 1 <= linked <= 20
