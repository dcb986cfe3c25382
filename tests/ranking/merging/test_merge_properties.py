"""Properties of every merge, on simulated groups of every kind (P1 to P13)."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.merging_world import (
    DISTORTIONS,
    Documents,
    Service,
    affine,
    draw_documents,
    finish,
    monotone,
    pack_documents,
    rerank,
)

from pipeline.planning.packing import Packing
from pipeline.planning.request_limits import RequestLimits
from pipeline.ranking.merging.final_request import FinalRequest
from pipeline.ranking.merging.first_round import collect_first_round
from pipeline.ranking.merging.merge import merge
from pipeline.ranking.merging.merged import Merged
from pipeline.ranking.merging.rank_link import fit_rank_link

SMALL = RequestLimits(max_documents=60, max_tokens=20_000, max_bytes=2**24, query_tokens=30)

seeds = st.integers(0, 10_000)
worlds = st.builds(
    lambda seed, count, kind, noise, digits: (seed, count, kind, noise, digits),
    seeds,
    st.integers(1, 500),
    st.sampled_from(sorted(DISTORTIONS)),
    st.sampled_from((0, 0.05, 0.5)),
    st.sampled_from((3, 6, 16)),
)


def make(world, limits: RequestLimits = SMALL) -> tuple[Documents, Service]:
    seed, count, kind, noise, digits = world
    documents = draw_documents(np.random.default_rng(seed), count, mixture="rich")
    return documents, Service(documents, seed, DISTORTIONS[kind], noise, digits, limits)


class Recorder:
    """Passes requests on to a service and keeps the scores."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.scores: list[np.ndarray] = []

    def __call__(self, request: np.ndarray) -> np.ndarray:
        self.scores.append(self.service(request))
        return self.scores[-1]


def same(one: Merged, other: Merged) -> bool:
    return (
        np.array_equal(one.order, other.order)
        and one.scores.tobytes() == other.scores.tobytes()
        and (one.status, one.certified_depth) == (other.status, other.certified_depth)
    )


@given(worlds, st.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_p1_the_ranking_is_a_permutation_of_the_documents(world, depth):
    documents, service = make(world)

    merged = rerank(documents, service, depth=depth, limits=SMALL)

    assert np.array_equal(np.sort(merged.order), np.arange(len(documents.logit)))
    assert len(merged.scores) == len(merged.order)
    assert np.isfinite(merged.scores).all()


@given(worlds, st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_p2_the_head_is_in_the_order_of_one_request(world, depth):
    documents, service = make(world)
    recorder = Recorder(service)

    merged = rerank(documents, recorder, depth=depth, limits=SMALL)

    head = merged.order[: merged.certified_depth]
    assume(merged.link is not None and len(head) > 1)
    orders = []
    for request, scores in zip(service.requests, recorder.scores, strict=True):
        if np.isin(head, request).all():
            score = dict(zip(request.tolist(), scores.tolist(), strict=True))
            orders.append([score[document] for document in head.tolist()])
    assert any(np.all(np.diff(order) <= 0) for order in orders)


@given(worlds, st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_p3_below_the_head_documents_of_one_request_keep_its_order(world, depth):
    documents, service = make(world)
    recorder = Recorder(service)

    merged = rerank(documents, recorder, depth=depth, limits=SMALL)

    start = merged.certified_depth if merged.link is not None else 0
    tail = merged.order[start:]
    for home, scores in zip(pack_documents(documents, SMALL).homes, recorder.scores, strict=False):
        of_home = np.full(len(documents.logit), np.nan)
        of_home[home] = scores[: len(home)]
        along = of_home[tail]
        assert np.all(np.diff(along[np.isfinite(along)]) <= 0)


@given(worlds, st.integers(1, 40), seeds)
@settings(max_examples=40, deadline=None)
def test_p4_input_order_and_sending_order_change_nothing(world, depth, shuffle):
    seed, count, kind, _, digits = world
    documents, service = make((seed, count, kind, 0, digits))
    rng = np.random.default_rng(shuffle)
    place = rng.permutation(count)  # document i of the group stands at row place[i] of the input

    def shuffled_service(request: np.ndarray) -> np.ndarray:
        turn = rng.permutation(len(request))
        scores = np.empty(len(request))
        scores[turn] = again(request[turn])
        return scores

    key = np.argsort(place[np.argsort(place)])  # the caller sorts the rows back into key order
    again = replace(service, requests=[])
    packing = pack_documents(Documents(documents.logit[key], documents.tokens[key]), SMALL)
    answers = [shuffled_service(request) for request in packing.requests]
    outcome = finish(merge(packing, answers, depth=depth), shuffled_service)

    assert np.array_equal(
        outcome.order, rerank(documents, service, depth=depth, limits=SMALL).order
    )


@given(seeds, st.integers(1, 60), st.sampled_from(sorted(DISTORTIONS)))
@settings(max_examples=40, deadline=None)
def test_p5_one_request_is_ranked_by_its_scores_without_further_requests(seed, count, kind):
    documents = draw_documents(np.random.default_rng(seed), count, median_tokens=50)
    documents = replace(documents, tokens=np.minimum(documents.tokens, 300))
    service = Service(documents, seed, DISTORTIONS[kind], digits=2, limits=SMALL)
    recorder = Recorder(service)

    merged = rerank(documents, recorder, limits=SMALL)

    (scores,) = recorder.scores
    assert np.array_equal(merged.order, np.argsort(-scores, kind="stable"))
    assert np.array_equal(merged.scores, scores[merged.order])
    assert (merged.status, merged.certified_depth) == ("single_request", count)


@given(seeds, st.integers(200, 500), st.sampled_from((6, 16)))
@settings(max_examples=40, deadline=None)
def test_p6_comparable_scores_are_sorted_as_they_are(seed, count, digits):
    documents = draw_documents(np.random.default_rng(seed), count, mixture="rich")
    service = Service(documents, seed, noise=0, digits=digits, limits=SMALL)

    merged = rerank(documents, service, limits=SMALL)

    scores = replace(service, limits=None)(np.arange(count))
    assert np.array_equal(merged.order, np.argsort(-scores, kind="stable"))
    assert np.array_equal(merged.scores, scores[merged.order])
    assert (merged.status, merged.certified_depth) == ("comparable", count)


@given(worlds, st.integers(1, 60))
@settings(max_examples=80, deadline=None)
def test_p7_without_noise_the_certified_head_is_the_true_one(world, depth):
    seed, count, kind, _, _ = world
    documents, service = make((seed, count, kind, 0, 16))

    merged = rerank(documents, service, depth=depth, limits=SMALL)

    assume(merged.link is not None)
    certified = merged.certified_depth
    scores = service.distort(np.random.default_rng(0), documents.logit).round(16)
    head, best = scores[merged.order[:certified]], np.sort(scores)[::-1][:certified]
    assert certified <= depth
    assert head == pytest.approx(best, rel=1e-9, abs=1e-12)  # up to ties of this rounding


@given(seeds, st.integers(150, 500))
@settings(max_examples=40, deadline=None)
def test_p8_documents_with_an_anchor_between_them_are_in_exact_order_by_rank(seed, count):
    documents, service = make((seed, count, "monotone", 0, 17))
    packing = pack_documents(documents, SMALL)
    assume(len(packing.anchors) > 0)
    first = collect_first_round(packing, [service(request) for request in packing.requests])
    saturated = (first.score < 1e-15) | (first.score > 1 - 1e-15)
    assume(not saturated.any())

    _, share = fit_rank_link(first)

    for anchor in packing.anchors:
        above = documents.logit > documents.logit[anchor]
        below = documents.logit < documents.logit[anchor]
        assert share[above].max(initial=0) <= share[anchor] <= share[below].min(initial=1)


@given(seeds, st.integers(150, 500), st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_p9_no_increasing_map_of_a_request_changes_the_rank_link_or_a_certified_head(
    seed, count, depth
):
    documents, plain = make((seed, count, "none", 0, 17))
    _, mapped = make((seed, count, "monotone", 0, 17))
    packing = pack_documents(documents, SMALL)
    assume(len(packing.anchors) > 0)
    rounds = [
        collect_first_round(packing, [service(request) for request in packing.requests])
        for service in (plain, mapped)
    ]
    assume(all(len(np.unique(first.score)) == count for first in rounds))

    shares = [fit_rank_link(first)[1] for first in rounds]
    heads = [
        rerank(documents, Service(documents, seed, kind, 0, 17, SMALL), depth=depth, limits=SMALL)
        for kind in (partial(affine, shift=0.3), monotone)
    ]

    assert shares[0].tobytes() == shares[1].tobytes()
    certified = min(depth, *(merged.certified_depth for merged in heads))
    assert np.array_equal(heads[0].order[:certified], heads[1].order[:certified])


@given(worlds, st.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_p10_no_request_exceeds_a_limit(world, depth):
    documents, service = make(world)

    rerank(documents, service, depth=depth, limits=SMALL)

    for request in service.requests:
        tokens = int(documents.tokens[request].sum())
        assert SMALL.fits(len(request), tokens, 4 * tokens)


@given(worlds, st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_p11_further_documents_are_the_anchors_and_at_most_two_final_requests(world, depth):
    documents, service = make(world)
    packing = pack_documents(documents, SMALL)

    rerank(documents, service, depth=depth, limits=SMALL)

    num_first = len(packing.homes)
    first, finals = service.requests[:num_first], service.requests[num_first:]
    assert sum(map(len, first)) == len(documents.logit) + len(packing.anchors) * (num_first - 1)
    assert len(finals) <= 2
    if finals:
        assert len(finals[0]) <= np.ceil(1.4 * depth) + 5 + num_first


@given(worlds, st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_p12_the_same_answers_give_the_same_bytes(world, depth):
    documents, _ = make(world)

    one = rerank(documents, make(world)[1], depth=depth, limits=SMALL)
    other = rerank(documents, make(world)[1], depth=depth, limits=SMALL)

    assert same(one, other)


@given(worlds, st.integers(1, 60), st.data())
@settings(max_examples=60, deadline=None)
def test_p13_a_failed_request_leaves_the_others_as_if_it_had_not_been_sent(world, depth, data):
    documents, service = make(world)
    packing = pack_documents(documents, SMALL)
    assume(len(packing.homes) > 1)
    answers = [service(request) for request in packing.requests]
    failed = data.draw(st.integers(0, len(answers) - 1))
    lost = np.setdiff1d(packing.homes[failed], packing.anchors)
    kept = np.setdiff1d(np.arange(len(documents.logit)), lost)

    final_services = [replace(service, requests=[]) for _ in range(2)]
    merged = finish(
        merge(packing, [*answers[:failed], None, *answers[failed + 1 :]], depth=depth),
        final_services[0],
    )

    homes = [np.isin(kept, home).nonzero()[0] for home in packing.homes]
    adopted = np.isin(kept, np.intersect1d(packing.homes[failed], packing.anchors)).nonzero()[0]
    del homes[failed]
    homes[0] = np.union1d(homes[0], adopted)
    without = Packing(
        tuple(homes),
        np.searchsorted(kept, packing.anchors),
        packing.tokens[kept],
        packing.sizes[kept],
        packing.limits,
    )
    known = [np.full(len(documents.logit), np.nan) for _ in homes]
    others = [
        (request, answer)
        for index, (request, answer) in enumerate(zip(packing.requests, answers, strict=True))
        if index != failed
    ]
    for scores, (request, answer) in zip(known, others, strict=True):
        scores[request] = answer
    never = finish(
        merge(
            without,
            [s[kept[request]] for s, request in zip(known, without.requests, strict=True)],
            depth=depth,
        ),
        lambda request: final_services[1](kept[request]),
    )
    assert merged.status == "incomplete"
    assert merged.certified_depth == 0
    assert np.array_equal(merged.order[: len(kept)], kept[never.order])
    assert np.array_equal(merged.order[len(kept) :], lost)
    assert np.isnan(merged.scores[len(kept) :]).all()


@given(seeds, st.integers(350, 500), st.data())
@settings(max_examples=30, deadline=None)
def test_p13_if_scores_are_comparable_a_failed_request_loses_its_documents_alone(seed, count, data):
    documents = draw_documents(np.random.default_rng(seed), count, mixture="rich")
    packing = pack_documents(documents, SMALL)
    service = Service(documents, seed, noise=0, limits=SMALL)
    answers = [service(request) for request in packing.requests]
    failed = data.draw(st.integers(0, len(answers) - 1))

    whole = merge(packing, answers)
    partly = merge(packing, [*answers[:failed], None, *answers[failed + 1 :]])

    assert isinstance(whole, Merged)
    assert isinstance(partly, Merged)
    lost = partly.order[np.isnan(partly.scores)]
    assert np.array_equal(lost, np.setdiff1d(packing.homes[failed], packing.anchors))
    assert np.array_equal(partly.order[: -len(lost)], whole.order[~np.isin(whole.order, lost)])


@given(worlds, st.integers(1, 60))
@settings(max_examples=80, deadline=None)
def test_sorting_by_score_and_key_reproduces_the_ranking(world, depth):
    documents, service = make(world)

    merged = rerank(documents, service, depth=depth, limits=SMALL)

    assert np.all(np.diff(merged.scores) <= 0)
    assert np.array_equal(merged.order, merged.order[np.lexsort((merged.order, -merged.scores))])
    assert ((merged.scores >= 0) & (merged.scores <= 1)).all()


@given(worlds, st.floats(0, 0.5), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_documents_without_a_score_come_last(world, share, depth):
    documents, service = make(world)
    packing = pack_documents(documents, SMALL)
    rng = np.random.default_rng(world[0])
    answers = []
    for request in packing.requests:
        scores = service(request)
        scores[rng.random(len(scores)) < share] = np.nan
        answers.append(scores)

    merged = finish(merge(packing, answers, depth=depth), service)

    unscored = np.isnan(merged.scores)
    assert np.array_equal(np.sort(merged.order), np.arange(len(documents.logit)))
    assert not unscored[: len(unscored) - unscored.sum()].any()
    assert np.all(np.diff(merged.order[unscored]) > 0)
    assert merged.status != "incomplete"
    for document in merged.order[unscored]:
        seen = [a[r == document] for r, a in zip(packing.requests, answers, strict=True)]
        assert np.isnan(np.concatenate(seen)).all()


def test_a_final_request_is_sent_in_key_order_with_a_witness_for_every_request_left_out():
    documents, service = make((1, 500, "affine", 0.05, 6))
    packing = pack_documents(documents, SMALL)

    outcome = merge(packing, [service(request) for request in packing.requests], depth=20)

    assert isinstance(outcome, FinalRequest)
    assert np.array_equal(outcome.documents, np.unique(outcome.documents))
    assert np.isin(outcome.witnesses, outcome.documents).all()
    assert len(outcome.witnesses) == len(packing.homes)
